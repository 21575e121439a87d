// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * Go on in the background: the caller's process stays for a child of its own session, which this
 * returns in, until that is ready or has ended.
 *
 * Returns 0 in the child, with a descriptor in *@ready_fd for detach_ready(); 1 in the first
 * process, with its exit status in *@status: 0 once the child is ready, else the child's own; or
 * negative errno.
 */
int detach(int *ready_fd, int *status);

/*
 * In the child: let the first process go, and leave its terminal and directory. What is printed
 * from now on goes to @log_fd. Returns 0, or -EPIPE when the first process has not waited.
 */
int detach_ready(int *ready_fd, int log_fd);
