"""Starts the program of a unit of systemd as systemd would, as far as that is possible without it.

usage: unit.py UNIT [NAME=VALUE]...   in a mount namespace of its own, as root

NAME=VALUE is what a drop-in would put into Environment=. A listening socket on descriptor 0 is handed over as
LISTEN_FDS. Done: User, CapabilityBoundingSet, NoNewPrivileges, UMask, LimitNOFILE, ProtectSystem=strict,
PrivateTmp, ProtectHome, RestrictAddressFamilies, RestrictNamespaces, MemoryDenyWriteExecute, SystemCallFilter with
its error number, WatchdogSec. Not done: everything else.
"""

import ctypes, os, pwd, re, resource, struct, subprocess, sys

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EPERM, EAFNOSUPPORT = 1, 97
NR, ARCH = 0, 4
LOAD, EQUAL, ANY_OF, RETURN = 0x20, 0x15, 0x45, 0x06
X86_64 = 0xC000003E
libc = ctypes.CDLL(None, use_errno=True)


def argument(index):
    return 16 + 8 * index


def prctl(*arguments):
    padded = [ctypes.c_ulong(it) for it in (*arguments, 0, 0, 0, 0)[1:5]]
    if libc.prctl(arguments[0], *padded) != 0:
        raise OSError(ctypes.get_errno(), "prctl %s" % (arguments,))


def install(program):
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("HL", len(program), ctypes.addressof(buffer))
    holder = ctypes.create_string_buffer(header)
    prctl(22, 2, ctypes.addressof(holder))


def service(path):
    settings = {}
    section = None
    for line in open(path):
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and line[0] not in "#;":
            name, value = line.split("=", 1)
            settings.setdefault(name, []).append(value)
    return settings


def numbers():
    header = open("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read()
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", header)}


def expand(word):
    if not word.startswith("@"):
        return {word}
    lines = subprocess.run(["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True)
    words = [line.strip() for line in lines.stdout.splitlines() if line.startswith("    ")]
    return set().union(*(expand(it) for it in words if not it.startswith("#")))


def allowed_calls(lists):
    allowed = expand("@default")
    for line in lists:
        calls = set().union(*(expand(word) for word in line.lstrip("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def only(calls):
    known = numbers()
    program = [(LOAD, 0, 0, ARCH), (EQUAL, 1, 0, X86_64), (RETURN, 0, 0, ERRNO | EPERM), (LOAD, 0, 0, NR)]
    for name in sorted(calls & known.keys()):
        program += [(EQUAL, 0, 1, known[name]), (RETURN, 0, 0, ALLOW)]
    return program + [(RETURN, 0, 0, ERRNO | EPERM)]


def families(names):
    known = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
    program = [(LOAD, 0, 0, NR), (EQUAL, 1, 0, numbers()["socket"]), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, argument(0))]
    for name in names:
        program += [(EQUAL, 0, 1, known[name]), (RETURN, 0, 0, ALLOW)]
    return program + [(RETURN, 0, 0, ERRNO | EAFNOSUPPORT)]


def without(call, index, bits):
    """The call is refused if its argument has one of the bits."""
    return [
        (LOAD, 0, 0, NR), (EQUAL, 0, 3, numbers()[call]),
        (LOAD, 0, 0, argument(index)), (ANY_OF, 0, 1, bits), (RETURN, 0, 0, ERRNO | EPERM),
        (RETURN, 0, 0, ALLOW),
    ]


def words(text, variables):
    for word in text.replace("%%", "%").lstrip("-").split():
        yield from variables[word[1:]].split() if word.startswith("$") else [word]


def is_on(unit, name):
    return unit.get(name, ["no"])[-1] == "yes"


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


unit = service(sys.argv[1])
variables = {}
for line in unit["Environment"]:
    for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', line):
        name, value = (quoted or plain).split("=", 1)
        variables[name] = value
variables.update(setting.split("=", 1) for setting in sys.argv[2:])
command = list(words(unit["ExecStart"][-1], variables))

calls = allowed_calls(unit["SystemCallFilter"])
filters = [families(unit["RestrictAddressFamilies"][-1].split())]
if is_on(unit, "RestrictNamespaces"):
    filters.append(without("clone", 0, 0x7E020080))
if is_on(unit, "MemoryDenyWriteExecute"):
    filters.append(without("mprotect", 2, 4))
filters.append(only(calls))

if unit["ProtectSystem"][-1] == "strict":
    mount("-o", "remount,bind,ro", "/")
if is_on(unit, "ProtectHome"):
    mount("-t", "tmpfs", "-o", "mode=000,ro", "none", "/root")
if is_on(unit, "PrivateTmp"):
    mount("-t", "tmpfs", "-o", "mode=1777", "none", "/tmp")
os.chdir("/")
os.umask(int(unit["UMask"][-1], 8))
limit = int(unit["LimitNOFILE"][-1]) if "LimitNOFILE" in unit else 1024
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

kept = unit["CapabilityBoundingSet"][-1].split()
names = {"CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SETPCAP": 8, "CAP_NET_BIND_SERVICE": 10, "CAP_SYS_CHROOT": 18}
for capability in range(41):
    if capability not in [names[it] for it in kept]:
        prctl(24, capability)
if "User" in unit:
    account = pwd.getpwnam(unit["User"][-1])
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)

environment = {"PATH": "/usr/bin:/bin", **variables}
for name in ["NOTIFY_SOCKET"]:
    if name in os.environ:
        environment[name] = os.environ[name]
if "WatchdogSec" in unit:
    environment["WATCHDOG_USEC"] = str(int(unit["WatchdogSec"][-1]) * 1000000)
    environment["WATCHDOG_PID"] = str(os.getpid())
if unit.get("StandardInput") != ["socket"] and "LISTEN" not in variables:
    os.dup2(0, 3)
    os.dup2(os.open("/dev/null", os.O_RDWR), 0)
    environment |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "client"}
if is_on(unit, "NoNewPrivileges"):
    prctl(38, 1)
for program in filters:
    install(program)
os.execve(command[0], command, environment)
