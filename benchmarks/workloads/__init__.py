"""What is measured, written once: a workload knows no library until it is given one."""
