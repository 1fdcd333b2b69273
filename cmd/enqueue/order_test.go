package main

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/testkit/redistest"
	"payscore-collector/tasks"
)

// The results come from scripts inside Redis, so both kinds of Redis are tested.
func TestOrder_Answers(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *redistest.Server{
		"redis-server": func(t *testing.T) *redistest.Server { return redistest.StartReal(t) },
		"embedded": func(t *testing.T) *redistest.Server {
			t.Setenv(redistest.EmbeddedOnly, "1")
			return redistest.Start(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			pr := programOn(server.URL)
			ctx := t.Context()

			wantRun(t, pr.run(ctx, "order", "A1", "A2|*-_"), 0, []string{"A1 accepted", "A2|*-_ accepted"})
			wantRun(t, pr.run(ctx, "order", "A1", "A3", "A3"), 0, []string{"A1 duplicate", "A3 accepted", "A3 duplicate"})
			wantRun(t, pr.run(ctx, "order", "A1", "--appid", "wx2"), 3, []string{"A1 conflict"})
			wantRun(t, pr.run(ctx, "order", "A.1", "A4"), 3, []string{
				`A.1 invalid out_order_no has '.' at position 2; only digits, letters and _ | * - are allowed`, "A4 accepted"})

			endOrder(t, server, "A1", tasks.Rejected, "unknown order")
			endOrder(t, server, "A3", tasks.Paid, "")
			wantRun(t, pr.run(ctx, "order", "A1", "A3", "A4"), 3, []string{"A1 ended rejected", "A3 ended paid", "A4 duplicate"})
			wantRun(t, pr.run(ctx, "order", "--reopen", "A1", "A3"), 3, []string{"A1 accepted", "A3 ended paid"})

			queued, err := server.Client.LLen(ctx, "asynq:{"+tasks.QueueName(mchid)+"}:pending").Result()
			if err != nil || queued != 5 { // A1, A2, A3, A4, and A1 again
				t.Errorf("%d tasks are queued, %v; want 5", queued, err)
			}
		})
	}
}

func TestOrder_JSON(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	pr.run(t.Context(), "order", "A1", "A2")
	endOrder(t, server, "A1", tasks.Closed, "")
	got := pr.run(t.Context(), "order", "--json", "A1", "A2", "A3", "A 4")
	if got.status != 3 || got.stderr != "" {
		t.Errorf("status %d, standard error %q", got.status, got.stderr)
	}
	wantJSON(t, got.stdout,
		`{"mchid":"1900000001","out_order_no":"A1","result":"ended","state":"closed"}`,
		`{"mchid":"1900000001","out_order_no":"A2","result":"duplicate","state":"queued"}`,
		`{"mchid":"1900000001","out_order_no":"A3","result":"accepted","state":"queued"}`,
		`{"mchid":"1900000001","out_order_no":"A 4","result":"invalid","reason":"out_order_no has ' ' at position 2; only digits, letters and _ | * - are allowed"}`,
	)
}

func TestOrder_FlagsWinOverEnvironment(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	pr.env["WECHATPAY_MCHID"] = "42"
	wantRun(t, pr.run(t.Context(), "order", "A1", "--mchid", mchid, "--appid=wx9", "--service-id=900"), 0, []string{"A1 accepted"})
	wantOrder(t, server, "A1", "queued wx9 900")
}

func TestOrder_At(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	wantRun(t, pr.run(t.Context(), "order", "A1", "--at", "2099-12-24 10:00"), 0, []string{"A1 accepted"}, "warning: --at: 2099-12-24 10:00 is more than ten years from now: check the year")
	if got, want := order(t, server, "A1").NextDueAt, time.Date(2099, 12, 24, 2, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("due at %v, want %v", got, want)
	}
	wantRun(t, pr.run(t.Context(), "order", "A2", "--at=+2h"), 0, []string{"A2 accepted"})
	if in := time.Until(order(t, server, "A2").NextDueAt); in < 119*time.Minute || in > 2*time.Hour {
		t.Errorf("due in %v, want 2h", in)
	}
	wantRun(t, pr.run(t.Context(), "order", "A2", "--at", ""), 2, nil, "--at is empty")
	wantRun(t, pr.run(t.Context(), "order", "A4", "--amount=1250", "--owed-since=2026-01-02 10:00"), 0, []string{"A4 accepted"})
	wantOrder(t, server, "A4", "queued wx1 500, billing ¥12.50, owed since 2026-01-02T02:00:00Z")
}

// Numbers that begin with a dash stand behind --, which may be anywhere.
func TestNumbers(t *testing.T) {
	for _, args := range [][]string{
		{"A1", "--", "-A2-", "--json"},
		{"--at=2h", "--", "A1", "-A2-", "--json"},
		{"A1", "--at", "2h", "--", "-A2-", "--json"},
		{"A1", "-A2-", "--json"},
	} {
		var cli commandLine
		_, _, ok := configParse(append([]string{"order"}, args...), &cli)
		dashed := slices.Contains(args, "--")
		if ok != dashed {
			t.Errorf("%q: ok is %v", args, ok)
		}
		if want := (numbers{"A1", "-A2-", "--json"}); ok && (!slices.Equal(cli.Order.Numbers, want) || cli.Order.JSON) {
			t.Errorf("%q: numbers %q, --json %v", args, cli.Order.Numbers, cli.Order.JSON)
		}
	}
}

// An error in the command line or the settings is reported before anything is
// enqueued.
func TestOrder_Usage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		args []string
		env  map[string]string
		want string
	}{
		{"no order number", []string{"order"}, nil, "write at least one order number: enqueue order NO …"},
		{"no command", nil, nil, `expected one of "order", "file", "withdraw"`},
		{"unknown flag", []string{"order", "A1", "--wiat"}, nil, "unknown flag --wiat"},
		{"no Redis", []string{"order", "A1"}, map[string]string{"REDIS_URL": ""}, "REDIS_URL is missing"},
		{"bad Redis", []string{"order", "A1"}, map[string]string{"REDIS_URL": "http://x"}, "REDIS_URL cannot be used"},
		{"two settings at once", []string{"order", "A1"}, map[string]string{"REDIS_URL": "", "WECHATPAY_MCHID": "x"}, "WECHATPAY_MCHID is \"x\""},
		{"a misspelt setting", []string{"order", "A1"}, map[string]string{"PAYSCORE_APPID": "", "PAYSCORE_APP_ID": "wx1"},
			"enqueue: PAYSCORE_APP_ID is set, but there is no such setting; PAYSCORE_APPID is the nearest\nenqueue: missing: appid"},
		{"no merchant", []string{"order", "A1"}, map[string]string{"WECHATPAY_MCHID": "", "PAYSCORE_APPID": ""},
			"missing: mchid (--mchid or WECHATPAY_MCHID), appid (--appid or PAYSCORE_APPID)\n"},
		{"bad merchant", []string{"order", "A1", "--mchid=x"}, nil, "--mchid has 'x' at position 1; only digits are allowed"},
		{"bad service", []string{"order", "A1", "--service-id=a.b"}, nil, "--service-id has '.' at position 2"},
		{"bad time", []string{"order", "A1", "--at=soon"}, nil, `--at is "soon", which is not a time`},
		{"an amount in yuan", []string{"order", "A1", "--amount=12.50"}, nil, `--amount is "12.50", which looks like yuan: write fen, 1250`},
		{"no amount", []string{"order", "A1", "--amount="}, nil, `--amount is ""; write fen as a whole number`},
		{"an amount too large", []string{"order", "A1", "--amount=99999999999999"}, nil, "--amount is 99999999999999; only 0 to "},
		{"owed since the future", []string{"order", "A1", "--owed-since=2999-01-01 10:00"}, nil, "--owed-since lies in the future"},
		{"owed since when", []string{"order", "A1", "--owed-since=soon"}, nil, `--owed-since is "soon", which is not a time`},
		{"time gone by", []string{"order", "A1", "--at=-2h"}, nil, "--at is -2h, which is in the past"},
		{"bad time-out", []string{"order", "A1", "--wait=soon"}, nil, `"soon" is not a time-out`},
		{"time-out of nothing", []string{"order", "A1", "--wait=0s"}, nil, `"0s" is not a time-out`},
		{"time-out apart from its flag", []string{"order", "--wait", "30s", "A1"}, nil, "write --wait=30s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pr := programOn("redis://127.0.0.1:1/0") // must not be asked
			for name, value := range tc.env {
				pr.env[name] = value
			}
			wantRun(t, pr.run(t.Context(), tc.args...), 2, nil, tc.want)
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ args, want string }{
		{"--help", "enqueue file - --format jsonl"},
		{"withdraw --help", "enqueue withdraw BIKE-1002 BIKE-1003 --reason"},
		{"order --help", "enqueue order BIKE-1001 --wait=5m --json"},
		{"file --help", "enqueue file orders.csv --rejects rejects.csv"},
	} {
		got := programOn("").run(t.Context(), strings.Fields(tc.args)...)
		if got.status != 0 || got.stderr != "" || !strings.Contains(got.stdout, tc.want) {
			t.Errorf("%s: status %d, standard error %q, standard output\n%s", tc.args, got.status, got.stderr, got.stdout)
		}
	}
}

func TestOrder_RedisDown(t *testing.T) {
	t.Parallel()
	pr := programOn("redis://user:hunter2@127.0.0.1:1/0")
	start := time.Now()
	got := pr.run(t.Context(), "order", "A1", "A2")
	wantRun(t, got, 1, []string{"A1 failed cannot use Redis", "A2 failed cannot use Redis"},
		"cannot use Redis at redis://127.0.0.1:1/0", "connection refused", "nothing was enqueued")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if strings.Contains(got.stderr, "hunter2") {
		t.Error("the password is shown")
	}
}

// A Redis that accepts connections and never answers counts as unreachable.
func TestOrder_RedisSilent(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	pr := programOn("redis://" + listener.Addr().String())
	pr.patience.start = 100 * time.Millisecond
	start := time.Now()
	wantRun(t, pr.run(t.Context(), "order", "A1"), 1, []string{"A1 failed cannot use Redis"}, "cannot use Redis at", "nothing was enqueued")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v instead of 100ms", took)
	}
}

func TestOrder_InterruptedBeforehand(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := pr.run(ctx, "order", "A1")
	if got.status != 1 || !strings.Contains(got.stderr, "interrupted") {
		t.Errorf("status %d, standard error %q", got.status, got.stderr)
	}
	if n, _ := server.Client.DBSize(t.Context()).Result(); n != 0 {
		t.Errorf("%d keys are in Redis", n)
	}
}

func TestLabel(t *testing.T) {
	for no, want := range map[string]string{
		"":                         "?",
		"BIKE-1":                   "BIKE-1",
		"A.1":                      "A.1",
		"订单1":                      "订单1",
		"A 1":                      `"A 1"`,
		"A\n1 accepted":            `"A\n1 accepted"`,
		`"A1"`:                     `"\"A1\""`,
		"\x1b[31m":                 `"\x1b[31m"`,
		strings.Repeat("x", 1000):  strings.Repeat("x", 64) + "…",
		strings.Repeat("A1_|*", 6): strings.Repeat("A1_|*", 6),
	} {
		if got := label(no); got != want {
			t.Errorf("label(%q) = %s, want %s", no, got, want)
		}
	}
}
