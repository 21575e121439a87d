// SPDX-License-Identifier: Apache-2.0
/* Stands in for libFuzzer: runs a target over every file of the directory it is given. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st)) {
		fprintf(stderr, "%s: %s\n", name, strerror(errno));
		exit(1);
	}
	/* As large as the input and no larger, so that a sanitizer sees reads past its end. */
	uint8_t *data = malloc(st.st_size ? (size_t)st.st_size : 1);

	if (!data || read(fd, data, (size_t)st.st_size) != st.st_size) {
		fprintf(stderr, "%s: cannot be read\n", name);
		exit(1);
	}
	close(fd);
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	free(data);
}

int main(int argc, char **argv)
{
	DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
	struct dirent *e;
	int n = 0;

	if (!dir) {
		fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
		return 2;
	}
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		replay(dirfd(dir), e->d_name);
		n++;
	}
	closedir(dir);
	printf("%d inputs\n", n);
	return n ? 0 : 1;
}
