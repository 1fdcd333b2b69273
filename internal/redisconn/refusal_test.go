package redisconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// What servers, proxies and managed services say, each in its own words.
func TestExplain(t *testing.T) {
	for said, want := range map[string]struct {
		kind   Kind
		words  string
		passes bool
	}{
		"MOVED 6936 10.0.0.7:6379":                                                                                                        {WrongURL, "redis-cluster://", false},
		"ERR This instance has cluster support disabled":                                                                                  {WrongURL, "redis://HOST", false},
		"ERR unknown command 'sentinel', with args beginning with: 'get-master-addr-by-name'":                                             {WrongURL, "not a Sentinel", false},
		"NOAUTH Authentication required.":                                                                                                 {Auth, "redis://:PASSWORD@", false},
		"WRONGPASS invalid username-password pair or user is disabled.":                                                                   {Auth, "percent-encoded", false},
		"ERR AUTH <password> called without any password configured for the default user. Are you sure?":                                  {Auth, "take the password out", false},
		"ERR Client sent AUTH, but no password is set":                                                                                    {Auth, "take the password out", false},
		"NOPERM this user has no permissions to run the 'evalsha' command or its subcommand":                                              {Denied, "may not run scripts", false},
		"NOPERM User app has no permissions to run the 'sadd' command":                                                                    {Denied, ACL, false},
		"NOPERM this user has no permissions to access one of the keys used as arguments":                                                 {Denied, "the keys", false},
		"NOPERM this user has no permissions to access one of the channels used as arguments":                                             {Denied, "asynq:cancel", false},
		"ERR The user executing the script can't run this command or subcommand script: 1f, on @user_script:3.":                           {Denied, "may not run a command", false},
		"ERR ACL failure in script: User app has no permissions to run the 'xadd' command":                                                {Denied, "may not run a command", false},
		"ERR No permission to execute this command":                                                                                       {Denied, "may not run a command", false},
		"ERR unknown command 'EVALSHA', with args beginning with: 'a' '1'":                                                                {Unsupported, "command EVALSHA", false},
		"ERR unknown command `XADD`, with args beginning with: ":                                                                          {Unsupported, "command XADD", false},
		"ERR Unknown Redis command called from script script: 1f, on @user_script:1.":                                                     {Unsupported, "enable it", false},
		"ERR Error running script (call to f_1): @user_script:9: ERR syntax error":                                                        {Unsupported, "upgrade to Redis 6.2", false},
		"ERR command 'config' is disabled":                                                                                                {Unsupported, "command CONFIG", false},
		"ERR command 'eval' not support for normal user":                                                                                  {Scripts, "script_check_enable", false},
		"ERR bad lua script for redis cluster, all the keys that the script uses should be passed using the KEYS array":                   {Scripts, "without the proxy", false},
		"ERR bad lua script for redis cluster, first parameter of redis.call/redis.pcall must be a single literal string":                 {Scripts, "without the proxy", false},
		"READONLY You can't write against a read only replica.":                                                                           {ReadOnly, "name the master", true},
		"ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write against a read only replica.": {ReadOnly, "name the master", true},
		"OOM command not allowed when used memory > 'maxmemory'.":                                                                         {Full, "raise maxmemory", true},
		"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.":                                {Unsaved, "full disk", true},
		"MISCONF Errors writing to the AOF file: No space left on device":                                                                 {Unsaved, "full disk", true},
		"LOADING Redis is loading the dataset in memory":                                                                                  {NotYet, "wait", true},
		"CLUSTERDOWN The cluster is down":                                                                                                 {NotYet, "CLUSTER INFO", true},
		"NOREPLICAS Not enough good replicas to write.":                                                                                   {NotYet, "min-replicas-to-write", true},
		"ERR max number of clients reached":                                                                                               {NotYet, "maxclients", true},
		"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.":                                          {NotYet, "SCRIPT KILL", true},
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.":                                                {NotYet, "wait", true},
		"ERR words that are in no row of the table":                                                                                       {Refused, "allow scripts, writes", false},
	} {
		errs := map[string]error{
			"as it is":           reply(said),
			"wrapped":            fmt.Errorf("ledger: %w", reply(said)),
			"joined":             fmt.Errorf("redis: all sentinels specified in configuration are unreachable: %w", errors.Join(reply(said))),
			"as asynq writes it": fmt.Errorf("UNKNOWN: redis eval error: %v", reply(said)),
		}
		for form, err := range errs {
			r := Explain(err)
			if r == nil || r.Kind != want.kind || !strings.Contains(r.Error(), want.words) || r.Passes() != want.passes || !strings.Contains(r.Said, said[:20]) {
				t.Errorf("%q %s: %#v", said, form, r)
			}
		}
	}
	if r := Explain(nil); r != nil {
		t.Errorf("nothing is explained as %v", r)
	}
	if r := Explain(fmt.Errorf("redis: all sentinels specified in configuration are unreachable: %w", errors.Join(redis.Nil))); r.Kind != WrongURL || !strings.Contains(r.Remedy, "master=NAME") {
		t.Errorf("an unknown master is explained as %v", r)
	}
	for _, err := range []error{
		&net.OpError{Op: "dial", Err: errors.New("connection refused")}, context.DeadlineExceeded,
		errors.New("UNKNOWN: redis eval error: dial tcp 127.0.0.1:1: connect: connection refused"), redis.ErrClosed,
	} {
		if r := Explain(err); r.Kind != Away || !r.Passes() || Explain(r) != r {
			t.Errorf("%v is explained as %v", err, r)
		}
	}
}

// Words from elsewhere stay in their line and control no terminal.
func TestExplain_oneLine(t *testing.T) {
	r := Explain(reply("ERR \x1b[2Jfoo\r\n{\"level\":\"info\"}" + strings.Repeat("€", 1000)))
	if strings.ContainsAny(r.Error(), "\x1b\r\n") || len([]rune(r.Said)) > 301 {
		t.Errorf("said is %q", r.Said)
	}
}
