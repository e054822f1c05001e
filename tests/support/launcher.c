/* Starts a program as no shell would: launcher WORD... -- PROGRAM ARGUMENT...
 *
 * no-arguments         the program gets not even its name
 * many-arguments       and a hundred thousand more
 * close=N              descriptor N is closed
 * channel              descriptor 3 is a SEQPACKET socket, stream: a stream, null: /dev/null
 * block, ignore        every signal is
 * limit=N=V            setrlimit(N) to V
 * umask=0              is 0
 * deleted, closed      the current directory is gone, or nobody may look into it
 * no-new-privs         is set
 * deny=N=E             system call N fails with error E
 * log=N                system call N is done, and logged by the kernel
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MANY = 100000 };

static void check(int result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "launcher: %s: %s\n", what, strerror(errno));
		exit(99);
	}
}

static void descriptor_three(int type)
{
	int pair[2];

	check(socketpair(AF_UNIX, type, 0, pair), "socketpair");
	check(dup2(pair[0], 3), "dup2");
}

static void filter(unsigned number, unsigned action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0 /* nr */),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "seccomp");
}

static void every_signal(int block)
{
	sigset_t all;
	int number;

	if (block) {
		sigfillset(&all);
		check(sigprocmask(SIG_BLOCK, &all, NULL), "sigprocmask");
		return;
	}
	for (number = 1; number < 65; number++)
		signal(number, SIG_IGN);
}

static void away(int deleted)
{
	char place[4096];

	if (getcwd(place, sizeof place) == NULL)
		check(-1, "getcwd");
	check(deleted ? rmdir(place) : chmod(place, 0), place);
}

static void prepare(const char *word)
{
	struct rlimit limit;
	int number, error;

	if (sscanf(word, "close=%d", &number) == 1)
		close(number);
	else if (!strcmp(word, "channel"))
		descriptor_three(SOCK_SEQPACKET);
	else if (!strcmp(word, "stream"))
		descriptor_three(SOCK_STREAM);
	else if (!strcmp(word, "null"))
		check(dup2(open("/dev/null", O_RDWR), 3), "dup2");
	else if (!strcmp(word, "block") || !strcmp(word, "ignore"))
		every_signal(!strcmp(word, "block"));
	else if (sscanf(word, "limit=%d=%lu", &number, &limit.rlim_cur) == 2) {
		limit.rlim_max = limit.rlim_cur;
		check(setrlimit(number, &limit), word);
	} else if (!strcmp(word, "umask=0"))
		umask(0);
	else if (!strcmp(word, "deleted") || !strcmp(word, "closed"))
		away(!strcmp(word, "deleted"));
	else if (sscanf(word, "deny=%d=%d", &number, &error) == 2)
		filter(number, SECCOMP_RET_ERRNO | error);
	else if (sscanf(word, "log=%d", &number) == 1)
		filter(number, SECCOMP_RET_LOG);
	else if (!strcmp(word, "no-new-privs"))
		check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl");
	else {
		errno = EINVAL;
		check(-1, word);
	}
}

int main(int argc, char **argv)
{
	char *nothing[] = { NULL }, **arguments;
	int at, none = 0, many = 0, count = 0;

	for (at = 1; at < argc && strcmp(argv[at], "--"); at++)
		;
	if (at + 1 >= argc)
		return 99;
	arguments = calloc(argc + MANY + 1, sizeof *arguments);
	while (at + 1 + count < argc) {
		arguments[count] = argv[at + 1 + count];
		count++;
	}
	/* Last the limits: this program needs some room, too. */
	for (int round = 0; round < 2; round++)
		for (int word = 1; word < at; word++) {
			none |= !strcmp(argv[word], "no-arguments");
			many |= !strcmp(argv[word], "many-arguments");
			if (strstr(argv[word], "-arguments") == NULL && (strncmp(argv[word], "limit=", 6) == 0) == round)
				prepare(argv[word]);
		}
	for (at = 0; many && at < MANY; at++)
		arguments[count++] = "x";
	execv(arguments[0], none ? nothing : arguments);
	check(-1, arguments[0]);
	return 99;
}
