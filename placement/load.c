/* SPDX-License-Identifier: BSD-3-Clause */
/* Topologies from this machine, from files and from descriptions. Files are foreign data. */
#include <placement/machine.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK_SECONDS 20
#define CHECK_BYTES (4ull << 30)

static int filter(hwloc_topology_t topo, enum sv_machine_need need)
{
	hwloc_topology_set_all_types_filter(topo, HWLOC_TYPE_FILTER_KEEP_NONE);
	hwloc_topology_set_type_filter(topo, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_type_filter(topo, HWLOC_OBJ_PACKAGE, HWLOC_TYPE_FILTER_KEEP_ALL);
	/* The L1 is for the guest's own topology. */
	hwloc_topology_set_type_filter(topo, HWLOC_OBJ_L1CACHE, HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_type_filter(topo, HWLOC_OBJ_L1ICACHE, HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_type_filter(topo, HWLOC_OBJ_L2CACHE, HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_type_filter(topo, HWLOC_OBJ_L3CACHE, HWLOC_TYPE_FILTER_KEEP_ALL);
	hwloc_topology_set_type_filter(topo, HWLOC_OBJ_DIE, HWLOC_TYPE_FILTER_KEEP_STRUCTURE);
	hwloc_topology_set_type_filter(topo, HWLOC_OBJ_GROUP, HWLOC_TYPE_FILTER_KEEP_STRUCTURE);
	if (need == SV_MACHINE_DEVICES)
		hwloc_topology_set_io_types_filter(topo, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
	return 0;
}

int sv_machine_here(enum sv_machine_need need, struct sv_machine **m, struct sv_error *err)
{
	char name[64] = "this machine";
	hwloc_topology_t topo;
	int rc;

	if (hwloc_topology_init(&topo) < 0)
		return sv_fail(err, ENOMEM, "hwloc: out of memory");
	/* It asks each CPU by running on it, and waits for those that are busy; sysfs says the same. */
	hwloc_topology_set_components(topo, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
	filter(topo, need);
	hwloc_topology_set_flags(topo, HWLOC_TOPOLOGY_FLAG_RESTRICT_TO_CPUBINDING |
					       HWLOC_TOPOLOGY_FLAG_RESTRICT_TO_MEMBINDING |
					       HWLOC_TOPOLOGY_FLAG_IS_THISSYSTEM);
	if (hwloc_topology_load(topo) < 0) {
		rc = sv_fail(err, EIO, "hwloc cannot read this machine's topology: %s; is /sys mounted?",
			strerror(errno));
		hwloc_topology_destroy(topo);
		return rc;
	}
	gethostname(name, sizeof(name) - 1);
	rc = sv_machine_from(topo, name, m, err);
	if (rc == 0)
		(*m)->here = true;
	return rc;
}

/* @xml: a whole file with a NUL behind it; NULL: @text is a synthetic description. */
static int load(const char *text, const char *xml, size_t bytes, hwloc_topology_t *topo)
{
	int rc;

	if (hwloc_topology_init(topo) < 0)
		return -ENOMEM;
	filter(*topo, SV_MACHINE_DEVICES);
	rc = xml ? hwloc_topology_set_xmlbuffer(*topo, xml, (int)bytes + 1)
		 : hwloc_topology_set_synthetic(*topo, text);
	if (rc == 0)
		rc = hwloc_topology_load(*topo);
	if (rc == 0)
		return 0;
	hwloc_topology_destroy(*topo);
	return -EINVAL;
}

/* In a child: what crashes, hangs or swells there does it alone. */
static __attribute__((noreturn)) void try_in_child(const char *text, const char *xml, size_t bytes)
{
	struct rlimit memory = {CHECK_BYTES, CHECK_BYTES}, none = {0, 0};
	struct sv_machine *m = NULL;
	hwloc_topology_t topo;
	int null = open("/dev/null", O_WRONLY), last;

	if (null >= 0)
		dup2(null, 2);
	signal(SIGALRM, SIG_DFL);
	alarm(CHECK_SECONDS);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	setrlimit(RLIMIT_AS, &memory);
#else
	(void)memory;
#endif
	setrlimit(RLIMIT_CORE, &none);
	if (load(text, xml, bytes, &topo) < 0)
		_exit(1);
	last = hwloc_bitmap_last(hwloc_topology_get_complete_cpuset(topo));
	if (last < 0 || last >= (int)(SV_MACHINE_CORES * SV_CORE_THREADS))
		_exit(2);
	_exit(sv_machine_from(topo, "", &m, NULL) < 0 ? 2 : 0);
}

static int check(const char *text, const char *xml, size_t bytes, struct sv_error *err)
{
	sigset_t alarm_only, before;
	int status = 0;
	pid_t pid;

	fflush(NULL);
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	pid = fork();
	if (pid < 0)
		return sv_fail(err, errno, "--topology %s: cannot start a process to read it: %s", text,
			strerror(errno));
	if (pid == 0) {
		sigprocmask(SIG_UNBLOCK, &alarm_only, &before);
		try_in_child(text, xml, bytes);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		return sv_fail(err, EINVAL, "--topology %s: no usable CPU in it, one beyond number %u, or "
			"more than %u cores", text, SV_MACHINE_CORES * SV_CORE_THREADS - 1,
			SV_MACHINE_CORES);
	if (WIFEXITED(status))
		return sv_fail(err, EINVAL,
			xml ? "--topology %s: hwloc cannot read it: not an hwloc XML file of version 1 "
			      "or 2 (`lstopo --of xml` writes one)"
			    : "--topology %s: no such file, and not a synthetic description such as "
			      "\"pack:2 l3:4 core:8 pu:2\"", text);
	return sv_fail(err, EINVAL,
		"--topology %s: hwloc gave up on it (%s): a broken file, or one made to do harm", text,
		WTERMSIG(status) == SIGALRM ? "no end within 20 s" : strsignal(WTERMSIG(status)));
}

/* Of the XML declaration; what is not as it should be is no encoding that we know. */
static bool known_encoding(const char *xml)
{
	static const char *const known[] = {"UTF-8", "US-ASCII", "ISO-8859-1"};
	const char *end = strchr(xml, '>'), *value;

	if (strncmp(xml, "<?xml", 5))
		return true;
	value = end ? memmem(xml, (size_t)(end - xml), "encoding", 8) : NULL;
	if (!value)
		return end != NULL;
	value += 8;
	value += strspn(value, " \t\r\n=");
	if (*value != '"' && *value != '\'')
		return false;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strncasecmp(value + 1, known[i], strlen(known[i])) &&
			value[1 + strlen(known[i])] == *value)
			return true;
	return false;
}

/* Entities can swell and can name other files; nothing that describes a machine needs them. */
static int look_for_entities(const char *path, const char *xml, size_t bytes, struct sv_error *err)
{
	const char *doctype, *end, *start = xml;

	if (memchr(xml, 0, bytes))
		return sv_fail(err, EINVAL,
			"--topology %s: it has a zero byte at %zu: not a UTF-8 XML file", path,
			strlen(xml));
	if (!strncmp(start, "\xef\xbb\xbf", 3))
		start += 3;
	start += strspn(start, " \t\r\n");
	if (*start != '<')
		return sv_fail(err, EINVAL,
			"--topology %s: it does not begin with <: not a UTF-8 XML file", path);
	if (!known_encoding(start))
		return sv_fail(err, EINVAL, "--topology %s: convert it to UTF-8 first", path);
	if (strstr(xml, "<!ENTITY"))
		return sv_fail(err, EINVAL,
			"--topology %s: it declares an XML entity; a topology needs none, remove it",
			path);
	doctype = strstr(xml, "<!DOCTYPE");
	end = doctype ? strchr(doctype, '>') : NULL;
	if (doctype && (!end || memchr(doctype, '[', (size_t)(end - doctype))))
		return sv_fail(err, EINVAL,
			"--topology %s: its DOCTYPE has declarations of its own; remove them", path);
	return 0;
}

static int read_file(const char *path, char **xml, size_t *bytes, struct sv_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), e = errno;
	struct stat st;
	ssize_t n = 0;

	if (fd < 0)
		return sv_fail(err, e, "--topology %s: %s", path, strerror(e));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return sv_fail(err, EINVAL, "--topology %s: not a regular file", path);
	}
	if (st.st_size > SV_TOPOLOGY_BYTES) {
		close(fd);
		return sv_fail(err, EINVAL, "--topology %s: %lld bytes; no machine's description is "
			"larger than %u MiB", path, (long long)st.st_size, SV_TOPOLOGY_BYTES >> 20);
	}
	*xml = malloc((size_t)st.st_size + 1);
	for (*bytes = 0; *xml && *bytes < (size_t)st.st_size; *bytes += (size_t)n) {
		n = read(fd, *xml + *bytes, (size_t)st.st_size - *bytes);
		if (n <= 0)
			break;
	}
	e = errno;
	close(fd);
	if (!*xml)
		return sv_fail(err, ENOMEM, "--topology %s: out of memory", path);
	(*xml)[*bytes] = 0;
	if (n < 0 || !*bytes) {
		free(*xml);
		*xml = NULL;
		return n < 0 ? sv_fail(err, e, "--topology %s: %s", path, strerror(e))
			     : sv_fail(err, EINVAL, "--topology %s: the file is empty", path);
	}
	return 0;
}

/* Levels multiply: "pack:1000000 core:1000000" is short, and has no end. */
static bool too_many(const char *text)
{
	double cpus = 1;

	for (const char *colon = strchr(text, ':'); colon; colon = strchr(colon + 1, ':'))
		cpus *= strtod(colon + 1, NULL);
	return cpus > (double)SV_MACHINE_CORES * SV_CORE_THREADS;
}

static bool looks_synthetic(const char *text)
{
	return !strchr(text, '/') && strchr(text, ':') && strlen(text) < 4096;
}

int sv_machine_load(const char *text, struct sv_machine **m, struct sv_error *err)
{
	char *xml = NULL;
	size_t bytes = 0;
	hwloc_topology_t topo = NULL;
	const char *base;
	int rc;

	if (access(text, F_OK) < 0 && looks_synthetic(text)) {
		rc = too_many(text) ? sv_fail(err, EINVAL, "--topology %s: more than %u CPUs", text,
			SV_MACHINE_CORES * SV_CORE_THREADS) : check(text, NULL, 0, err);
	} else {
		rc = read_file(text, &xml, &bytes, err);
		if (rc == 0)
			rc = look_for_entities(text, xml, bytes, err);
		if (rc == 0)
			rc = check(text, xml, bytes, err);
	}
	if (rc == 0)
		rc = load(text, xml, bytes, &topo); /* as it did in the child */
	free(xml);
	if (rc < 0)
		return rc;
	base = strrchr(text, '/');
	return sv_machine_from(topo, base ? base + 1 : text, m, err);
}
