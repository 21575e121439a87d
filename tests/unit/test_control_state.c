// SPDX-License-Identifier: Apache-2.0
#include "control/state.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char top[] = "/tmp/kvmbox-state-XXXXXX";
static char root[64];
static struct error err;

static void set_up(void)
{
	cr_assert(mkdtemp(top));
	snprintf(root, sizeof(root), "%s/kvmbox/vm", top);
	setenv("KVMBOX_STATE", root, 1);
}

static void tear_down(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", top);
	cr_assert_eq(system(command), 0);
}

TestSuite(state, .init = set_up, .fini = tear_down);

/* How many entries the root has, those with a dot included. */
static size_t entries(void)
{
	DIR *dir = opendir(root);
	size_t n = 0;

	cr_assert(dir);
	for (struct dirent *e; (e = readdir(dir));)
		n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(dir);
	return n;
}

static void write_state(const struct state_dir *dir, const char *json)
{
	struct json_object *object = json_tokener_parse(json);

	cr_assert(object);
	cr_assert_eq(state_write(dir, object), 0);
	json_object_put(object);
}

static int create(struct state_dir *dir, const char *name, struct error *why)
{
	struct json_object *first = json_object_new_object();

	json_object_object_add(first, "status", json_object_new_string("starting"));
	int ret = state_create(dir, name, first, why);

	json_object_put(first);
	return ret;
}

static const char *status_of(const char *name)
{
	static char status[32];
	struct state s;

	cr_assert_eq(state_read(&s, name, &err), 0, "%s", err.text);
	snprintf(status, sizeof(status), "%s", state_status(&s));
	state_deinit(&s);
	return status;
}

Test(state, life)
{
	struct state_dir dir;
	struct state s;
	struct stat st;

	cr_assert_eq(create(&dir, "web", &err), 0, "%s", err.text);
	cr_assert_eq(stat(dir.path, &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0700);
	cr_assert_eq(stat(root, &st), 0);
	cr_assert_eq(st.st_mode & 0777, geteuid() == 0 ? 0711 : 0700);
	cr_assert_str_eq(status_of("web"), "starting");

	write_state(&dir, "{\"name\":\"web\",\"status\":\"running\"}");
	cr_assert_eq(state_read(&s, "web", &err), 0);
	cr_assert(s.alive);
	cr_assert_str_eq(s.path, dir.path);
	cr_assert_str_eq(state_status(&s), "running");

	write_state(&dir, "{\"name\":\"web\",\"status\":\"exited\",\"exit_status\":7}");
	state_close(&dir);
	cr_assert_eq(state_refresh(&s), 0);
	cr_assert_not(s.alive);
	cr_assert_str_eq(state_status(&s), "exited");
	cr_assert_eq(json_object_get_int(json_object_object_get(s.json, "exit_status")), 7);

	cr_assert_eq(state_remove("web", &err), 0, "%s", err.text);
	cr_assert_eq(state_refresh(&s), -ENOENT);
	state_deinit(&s);
	cr_assert_eq(state_read(&s, "web", &err), -ENOENT);
	cr_assert_eq(entries(), 0);
}

Test(state, own_removal)
{
	struct state_dir dir;

	cr_assert_eq(create(&dir, "web", &err), 0);
	state_remove_own(&dir);
	cr_assert_eq(dir.lock_fd, -1);
	cr_assert_eq(entries(), 0);
}

Test(state, died)
{
	struct state_dir dir;

	cr_assert_eq(create(&dir, "web", &err), 0);
	write_state(&dir, "{\"status\":\"running\"}");
	state_close(&dir);
	cr_assert_str_eq(status_of("web"), "died");
}

/* The monitor has it, too, and might be a guest's. */
Test(state, lock_cannot_be_written)
{
	struct state_dir dir;

	cr_assert_eq(create(&dir, "web", &err), 0);
	cr_expect_lt(write(dir.lock_fd, "x", 1), 0);
	state_remove_own(&dir);
}

/* The lock goes with the last that holds it: a child that has inherited it counts. */
Test(state, lock_is_inherited)
{
	struct state_dir dir;
	int gate[2];

	cr_assert_eq(pipe(gate), 0);
	cr_assert_eq(create(&dir, "web", &err), 0);
	write_state(&dir, "{\"status\":\"running\"}");
	pid_t child = fork();

	if (!child) {
		char c;

		close(gate[1]);
		_exit(read(gate[0], &c, 1) != 0);
	}
	state_close(&dir);
	cr_assert_str_eq(status_of("web"), "running");
	cr_assert_eq(state_remove("web", &err), -EBUSY);
	close(gate[1]);
	cr_assert_eq(waitpid(child, NULL, 0), child);
	cr_assert_str_eq(status_of("web"), "died");
	cr_assert_eq(state_remove("web", &err), 0);
}

Test(state, names)
{
	static const char *const bad[] = { "", ".", "..", ".hidden", "a/b", "../web", "/etc" };
	struct state_dir dir;
	struct state s;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(create(&dir, bad[i], &err), -EINVAL);
		cr_assert_eq(state_read(&s, bad[i], &err), -ENOENT);
		cr_assert_eq(state_remove(bad[i], &err), -ENOENT);
	}
	cr_assert_eq(create(&dir, "database", &err), 0);
	cr_assert_eq(state_read(&s, "datbase", &err), -ENOENT);
	cr_assert_str_eq(err.text, "there is no VM called \"datbase\"; did you mean database?");
	cr_assert_eq(state_read(&s, "xyz\033[2J", &err), -ENOENT);
	cr_assert_not(strchr(err.text, '\033'));
	state_close(&dir);
}

Test(state, taken)
{
	struct state_dir dir, other;

	cr_assert_eq(create(&dir, "web", &err), 0);
	cr_assert_eq(create(&other, "web", &err), -EEXIST);
	cr_assert(strstr(err.text, "rm -f web"), "%s", err.text);
	state_close(&dir);
	cr_assert_eq(create(&other, "web", &err), -EEXIST);
	cr_assert(strstr(err.text, "kvmbox rm web"), "%s", err.text);
	cr_assert_eq(entries(), 1);
}

/* All sockets that will be made in it must have room for their paths. */
Test(state, longest_path)
{
	struct state_dir dir;
	char name[80] = "", longer[200];
	size_t room = 107 - strlen(root) - strlen("//vsock.sock_65535");

	memset(name, 'n', room < 63 ? room : 63);
	cr_assert_eq(create(&dir, name, &err), 0, "%s", err.text);
	state_remove_own(&dir);
	snprintf(longer, sizeof(longer), "%s/%0*d", root, (int)(room - 10), 0);
	setenv("KVMBOX_STATE", longer, 1);
	cr_assert_eq(create(&dir, "short", &err), 0, "%s", err.text);
	state_remove_own(&dir);
	cr_assert_eq(create(&dir, "not-so-short", &err), -ENAMETOOLONG);
	cr_assert(strstr(err.text, "Linux takes 107"), "%s", err.text);
}

Test(state, auto_removal)
{
	struct state_dir dir;
	struct state *list;
	size_t n;

	/* by whoever takes the name */
	cr_assert_eq(create(&dir, "web", &err), 0);
	write_state(&dir, "{\"status\":\"running\",\"auto_remove\":true}");
	state_close(&dir);
	cr_assert_eq(create(&dir, "web", &err), 0, "%s", err.text);
	cr_assert_str_eq(status_of("web"), "starting");

	/* by whoever lists, but not as long as it lives */
	write_state(&dir, "{\"status\":\"running\",\"auto_remove\":true}");
	cr_assert_eq(state_list(&list, &n, &err), 0);
	cr_assert_eq(n, 1);
	state_list_free(list, n);
	state_close(&dir);
	cr_assert_eq(state_list(&list, &n, &err), 0);
	cr_assert_eq(n, 0);
	state_list_free(list, n);
	cr_assert_eq(entries(), 0);
}

Test(state, list)
{
	static const char *const json[] = { "{\"created\":30.5}", "{\"created\":10}",
					    "{\"created\":20}" };
	static const char *const names[] = { "a", "b", "c" };
	struct state_dir dirs[3];
	struct state *list;
	size_t n;

	cr_assert_eq(state_list(&list, &n, &err), 0, "%s", err.text);
	cr_assert_eq(n, 0);
	for (size_t i = 0; i < 3; i++) {
		cr_assert_eq(create(&dirs[i], names[i], &err), 0);
		write_state(&dirs[i], json[i]);
	}
	cr_assert_eq(state_list(&list, &n, &err), 0);
	cr_assert_eq(n, 3);
	cr_assert_str_eq(list[0].name, "b");
	cr_assert_str_eq(list[1].name, "c");
	cr_assert_str_eq(list[2].name, "a");
	state_list_free(list, n);
}

/* What cannot be read is a VM of which nothing is known. */
Test(state, bad_json)
{
	static const char *const texts[] = { "", "{", "[]", "null", "\"x\"", "{\"status\":5}" };
	struct state_dir dir;
	char path[PATH_MAX];

	cr_assert_eq(create(&dir, "web", &err), 0);
	snprintf(path, sizeof(path), "%s/state.json", dir.path);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		FILE *f = fopen(path, "w");

		cr_assert(f);
		fputs(texts[i], f);
		fclose(f);
		cr_assert_str_eq(status_of("web"), "starting", "%s", texts[i]);
	}
	state_close(&dir);
	cr_assert_str_eq(status_of("web"), "died");
}

/* What a crash has left half done goes with the next creation; what is being done stays. */
Test(state, sweeping)
{
	struct state_dir dir, other;
	char path[PATH_MAX], hidden[PATH_MAX];

	cr_assert_eq(create(&dir, "a", &err), 0);
	snprintf(path, sizeof(path), "%s/a", root);
	snprintf(hidden, sizeof(hidden), "%s/.half", root);
	cr_assert_eq(rename(path, hidden), 0);
	snprintf(path, sizeof(path), "%s/.empty", root);
	cr_assert_eq(mkdir(path, 0700), 0);
	cr_assert_eq(create(&other, "b", &err), 0);
	cr_assert_eq(access(hidden, F_OK), 0);
	cr_assert_neq(access(path, F_OK), 0);
	state_close(&dir);
	cr_assert_eq(create(&dir, "c", &err), 0);
	cr_assert_neq(access(hidden, F_OK), 0);
	cr_assert_eq(entries(), 2);
}

#define CROWD  20
#define ROUNDS 60

/* Create, look and remove as long as it lasts. Returns how often something was wrong. */
static int jostle(int number)
{
	static const char *const names[] = { "one", "two", "three" };
	int wrong = 0;

	srand((unsigned int)number);
	for (int i = 0; i < ROUNDS; i++) {
		const char *name = names[rand() % 3];
		struct state_dir dir;
		struct state *list, s;
		size_t n;
		int ret = create(&dir, name, &err);

		if (ret == 0) {
			/* It is ours: nobody else can have it, nor remove it. */
			wrong += state_read(&s, name, &err) != 0;
			wrong += !s.alive;
			state_deinit(&s);
			wrong += state_remove(name, &err) != -EBUSY;
			write_state(&dir, rand() % 2
						  ? "{\"status\":\"running\",\"auto_remove\":true}"
						  : "{\"status\":\"exited\"}");
			if (rand() % 2)
				state_remove_own(&dir);
			else
				state_close(&dir);
		} else {
			wrong += ret != -EEXIST;
		}
		wrong += state_list(&list, &n, &err) != 0 || n > 3;
		for (size_t k = 0; k < n; k++)
			wrong += !json_object_object_get(list[k].json, "status");
		state_list_free(list, n);
		ret = state_remove(names[rand() % 3], &err);
		wrong += ret != 0 && ret != -ENOENT && ret != -EBUSY;
	}
	return wrong;
}

Test(state, crowd, .timeout = 100)
{
	pid_t children[CROWD];
	struct state *list;
	size_t n;

	for (int i = 0; i < CROWD; i++) {
		children[i] = fork();
		if (!children[i]) {
			int wrong = jostle(i);

			_exit(wrong > 100 ? 100 : wrong);
		}
	}
	for (int i = 0; i < CROWD; i++) {
		int status;

		cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
		cr_assert_eq(status, 0, "child %d found %d things wrong", i, WEXITSTATUS(status));
	}
	cr_assert_eq(state_list(&list, &n, &err), 0);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(state_remove(list[i].name, &err), 0, "%s", err.text);
	state_list_free(list, n);
	cr_assert_eq(entries(), 0);
}

Test(state, relative_root)
{
	struct state_dir dir;

	setenv("KVMBOX_STATE", "here", 1);
	cr_assert_eq(create(&dir, "web", &err), -EINVAL);
	cr_assert(strstr(err.text, "an absolute path"), "%s", err.text);
}

/* Other users than root have it below XDG_RUNTIME_DIR. */
Test(state, not_root)
{
	struct state_dir dir;

	unsetenv("KVMBOX_STATE");
	if (geteuid() == 0) {
		cr_assert_eq(chown(top, 65534, 65534), 0);
		cr_assert_eq(seteuid(65534), 0);
	}
	unsetenv("XDG_RUNTIME_DIR");
	cr_assert_eq(create(&dir, "web", &err), -ENOENT);
	cr_assert(strstr(err.text, "XDG_RUNTIME_DIR"));
	setenv("XDG_RUNTIME_DIR", top, 1);
	cr_assert_eq(create(&dir, "web", &err), 0, "%s", err.text);
	cr_assert_eq(strncmp(dir.path, root, strlen(root)), 0);
	state_remove_own(&dir);
	cr_assert_eq(seteuid(getuid()), 0);
}
