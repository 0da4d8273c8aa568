"""Exit statuses by which the parts of a job tell each other, and accounting tells us, how it ended."""

SETUP_FAILED_STATUS = 78
"""Exit status of a job whose environment could not be made (EX_CONFIG of sysexits.h); the command never started."""
AGAIN_STATUS = 85
"""Exit status of a job that was stopped in the middle and wants to go on in the queue."""
