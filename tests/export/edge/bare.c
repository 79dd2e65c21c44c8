/* A Cortex-M with nothing on it: start, run the model once, say what it answered, stop. */
#include HEADER
#include WEIGHTS
#include "given.h"

extern uint32_t stack_top;
static ALIGNED uint8_t workspace[WORKSPACE];
static ALIGNED uint8_t answer[ANSWER];

static void host(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void say(uint32_t word)
{
    char text[10];
    for (int i = 0; i < 8; i++) text[i] = "0123456789abcdef"[word >> (28 - 4 * i) & 15];
    text[8] = '\n';
    text[9] = 0;
    host(4, text); /* SYS_WRITE0 */
}

static void stop(void)
{
    host(0x18, (const void *)0x20026); /* SYS_EXIT, of its own accord */
    for (;;) continue;
}

static void fault(void)
{
    host(4, "fault\n");
    stop();
}

__attribute__((noinline)) static void work(void)
{
    const void *inputs[] = INPUTS;
    void *outputs[] = OUTPUTS;
    for (uint32_t i = 0; i < sizeof workspace; i++) workspace[i] = 0xff;
    say((uint32_t)RUN(STEM_weights, inputs, outputs, workspace));
    for (uint32_t i = 0; i < ANSWER; i += 4) {
        const uint8_t *at = answer + i;
        say(at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
    }
    stop();
}

__attribute__((naked)) static void reset(void)
{
    /* CPACR: coprocessors 10 and 11, which are the FPU and MVE, before any of their registers. */
    __asm__ volatile("ldr r0, =0xe000ed88\n ldr r1, [r0]\n orr r1, r1, #0xf00000\n"
                     "str r1, [r0]\n dsb\n isb\n bl %c0\n" : : "i"(work));
}

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    &stack_top, (const void *)reset, (const void *)fault, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault,
};
