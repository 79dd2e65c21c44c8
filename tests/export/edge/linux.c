/* Run a model once: weights, inputs and answers are files. */
#include HEADER
#include <stdio.h>
#include <string.h>

static ALIGNED uint8_t weights[WEIGHTS];
static ALIGNED uint8_t workspace[WORKSPACE];
static ALIGNED uint8_t given[GIVEN];
static ALIGNED uint8_t answer[ANSWER];

static int read_all(const char *name, void *to, size_t size)
{
    FILE *file = fopen(name, "rb");
    int good = file && fread(to, size, 1, file) == 1;
    if (file) fclose(file);
    return good;
}

int main(int count, char **names)
{
    const void *inputs[] = INPUTS;
    void *outputs[] = OUTPUTS;
    FILE *file;
    if (count != 4 || !read_all(names[1], weights, WEIGHTS) || !read_all(names[2], given, sizeof given))
        return 2;
    memset(workspace, 255, sizeof workspace);
    if (RUN(weights, inputs, outputs, workspace)) return 3;
    file = fopen(names[3], "wb");
    return file && fwrite(answer, sizeof answer, 1, file) == 1 && !fclose(file) ? 0 : 4;
}
