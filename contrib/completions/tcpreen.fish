complete -c tcpreen -s a -l accept -l bind -d 'listening address [default: any IPv4]' -r -f -a "(__fish_print_hostnames)"
complete -c tcpreen -s s -l server -d 'the server\'s host [default: this one]' -r -f -a "(__fish_print_hostnames)"
complete -c tcpreen -s p -l protocol -d 'protocol of both sides, or SERVER/CLIENT' -r -f -a "tcp\t''
tcp6\t''
unix\t''
unix-seqpacket\t''"
complete -c tcpreen -s f -l format -d 'format of the outputs (-o) that follow' -r -f -a "C\t''
hex\t''
count\t''
null\t''
raw\t''
password\t''
strip\t''
json\t''
pcapng\t''
view\t''
html\t''"
complete -c tcpreen -s o -l output -d 'write the sessions to FILE; - is stdout' -r -F
complete -c tcpreen -l only -d 'record only SIDE in the -o that follow' -r -f -a "client\t''
server\t''
both\t''"
complete -c tcpreen -l match -d 'only sessions in which one side matches' -r -f
complete -c tcpreen -l time -d 'times: clock, date, iso, unix, start or delta' -r -f -a "clock\t''
date\t''
iso\t''
unix\t''
start\t''
delta\t''"
complete -c tcpreen -l record-first -d 'record before forwarding; sync: on the disk' -r -f -a "write\t''
sync\t''"
complete -c tcpreen -l password -d '-f password: logins, or all secrets' -r -f -a "logins\t''
all\t''"
complete -c tcpreen -l color -d 'in colour: auto, always or never [default: auto]' -r -f -a "auto\t''
always\t''
never\t''"
complete -c tcpreen -l max-shown -d 'view: show BYTES of a piece (k, M, G), or all' -r -f
complete -c tcpreen -s b -l bytes -d 'end a session after BYTES bytes (k, M, G)' -r -f
complete -c tcpreen -s F -l fork -d 'sessions at a time [default: 1, with -d 64]' -r -f
complete -c tcpreen -l max-per-client -d 'concurrent sessions of one client address' -r -f
complete -c tcpreen -s m -l maxconn -l max -d 'end after N sessions' -r -f
complete -c tcpreen -l connect-timeout -d 'give up connecting after TIME [default: 30s]' -r -f
complete -c tcpreen -l idle-timeout -d 'end a session after TIME without data' -r -f
complete -c tcpreen -l drain-timeout -d 'at the end, leave sessions TIME to finish' -r -f
complete -c tcpreen -l keepalive -d 'probe silent peers every TIME; 0: never' -r -f
complete -c tcpreen -l rotate-size -d 'go on in a new FILE at SIZE (k, M, G)' -r -f
complete -c tcpreen -l rotate-time -d 'go on in a new FILE every TIME' -r -f
complete -c tcpreen -l rotate-count -d 'keep N old parts: FILE.1 ... [default: all]' -r -f
complete -c tcpreen -l read -d 'read FILE... (json, pcapng) instead of bridging' -r -F
complete -c tcpreen -l session -d 'only these sessions of the record' -r -f
complete -c tcpreen -l tls-keys -d 'add TLS secrets to pcapng (SSLKEYLOGFILE)' -r -F
complete -c tcpreen -l replay -d 'play client or server of a record' -r -f -a "client\t''
server\t''"
complete -c tcpreen -l pace -d 'pace of a replay: turns, time or fast' -r -f -a "turns\t''
time\t''
fast\t''"
complete -c tcpreen -l mask -d 'ignore differences that match REGEX' -r -f
complete -c tcpreen -l wait -d 'wait TIME for recorded data [default: 3s]' -r -f
complete -c tcpreen -l pidfile -d 'write the process id to FILE while running' -r -F
complete -c tcpreen -l metrics -d 'write metrics to FILE (OpenMetrics)' -r -F
complete -c tcpreen -s u -l user -d 'become this user after binding (root only)' -r -f -a "(__fish_complete_users)"
complete -c tcpreen -l sandbox -d 'action on a forbidden system call: kill or log' -r -f -a "kill\t''
log\t''"
complete -c tcpreen -l require-sandbox -d 'full: exit unless the sandbox is complete' -r -f -a "full\t''
basic\t''"
complete -c tcpreen -s c -l connect -d 'connect to the client at -a ADDR, LOCALPORT'
complete -c tcpreen -s l -l listen -d 'wait for the server to connect to SERVERPORT'
complete -c tcpreen -l append -d 'append to FILE instead of emptying it'
complete -c tcpreen -s n -l numeric -d 'numbers instead of host and service names'
complete -c tcpreen -s q -l quiet -d 'show nothing, only write the outputs'
complete -c tcpreen -s v -l verbose -d 'show the data; twice: also details'
complete -c tcpreen -l diff -d 'compare the sessions of two records'
complete -c tcpreen -s d -l daemon -d 'run in the background, quiet, with syslog'
complete -c tcpreen -l inetd -d 'started by inetd: descriptor 0 is the client'
complete -c tcpreen -l syslog -d 'send notices to syslog instead of stderr'
complete -c tcpreen -l print-policy -d 'print the sandbox policy and exit'
complete -c tcpreen -l demo -d 'run a session between built-in peers'
complete -c tcpreen -s h -l help -d 'print this help and exit'
complete -c tcpreen -s V -l version -d 'print version and licence and exit'
