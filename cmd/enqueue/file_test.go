package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/tasks"
)

func TestFile_CSV(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	pr.run(t.Context(), "order", "OLD", "DONE", "OTHER")
	endOrder(t, server, "DONE", tasks.Paid, "")
	path := testkit.WriteFile(t, "orders.csv", "price,out_order_no,appid,at\n"+
		"1,A1,,\n"+
		"2,A2,wx2,2099-12-24 10:00\n"+
		"3,A.3,,\n"+
		"4,OLD,,\n"+
		"5,DONE,,\n"+
		"6,OTHER,wx2,\n"+
		"7,A1,,\n"+
		"8,A8\n"+
		"9,A9,,tomorrow\n")
	got := pr.run(t.Context(), "file", path)
	wantRun(t, got, 3, []string{
		"A1 accepted", "A2 accepted",
		"A.3 invalid line 4: out_order_no has '.' at position 2; only digits, letters and _ | * - are allowed",
		"OLD duplicate", "DONE ended paid", "OTHER conflict", "A1 duplicate",
		"? invalid line 9: has 2 fields where the header row has 4",
		`A9 invalid line 10: at is "tomorrow", which is not a time: write "2006-01-02 15:04" (Asia/Shanghai) or 2006-01-02T15:04:05+08:00`,
	},
		"orders.csv: ignored columns: price\n",
		"orders.csv: line 4: invalid out_order_no has '.'",
		"orders.csv: line 6: ended paid\n",
		"orders.csv: line 7: conflict\n",
		"orders.csv: line 9: invalid has 2 fields",
		"orders.csv: 9 rows in ", "rows/s): 2 accepted, 2 duplicate, 1 conflict, 1 ended, 3 invalid\n",
	)
	wantOrder(t, server, "A2", "queued wx2 500, later")
	if got := order(t, server, "A2").NextDueAt.Year(); got != 2099 {
		t.Errorf("A2 is due in %d, want 2099", got)
	}
	if _, err := ledger.New(server.Client, mchid).Get(t.Context(), "A9"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a row with a bad time is in the ledger: %v", err)
	}
}

// The ledger has what billing says about an order; a wrong value costs its own row.
func TestFile_AmountAndOwedSince(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"orders.csv": "out_order_no,amount,owed_since\nA1,1250,2026-01-02 10:00\nA2,,\nA3,12.50,\nA4,,2999-01-01 10:00\nA5,99999999999999,\n",
		"orders.jsonl": `{"out_order_no":"A1","amount":1250,"owed_since":"2026-01-02T10:00:00+08:00"}` + "\n" + `{"out_order_no":"A2"}` + "\n" +
			`{"out_order_no":"A3","amount":"12.50"}` + "\n" + `{"out_order_no":"A4","owed_since":"2999-01-01 10:00"}` + "\n" + `{"out_order_no":"A5","amount":99999999999999}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			pr, server := newProgram(t)
			got := pr.run(t.Context(), "file", testkit.WriteFile(t, name, text))
			if got.status != 3 {
				t.Errorf("status %d", got.status)
			}
			for _, want := range []string{"A1 accepted", "A2 accepted", `amount is "12.50", which looks like yuan: write fen, 1250`, "owed_since lies in the future", "amount is 99999999999999; only 0 to "} {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("%q is not in\n%s", want, got.stdout)
				}
			}
			wantOrder(t, server, "A1", "queued wx1 500, billing ¥12.50, owed since 2026-01-02T02:00:00Z")
			wantOrder(t, server, "A2", "queued wx1 500")
		})
	}
}

// Warnings about all rows are printed at the end, also in a dry run.
func TestFile_Warnings(t *testing.T) {
	t.Parallel()
	text := "out_order_no,at,note\n20260101123456700000,,\n20260101123456800000,2126-12-24 10:00,\nA\xb5\xd8,,\n"
	want := []string{
		"orders.csv: warning: all 2 order numbers of more than 15 digits end in zeros from digit 16 on, as Excel rounds them",
		"orders.csv: warning: 1 rows start in the far future, the first in line 3: 2126-12-24 10:00 is more than ten years from now",
		"orders.csv: warning: 1 rows are probably in GBK and were left out: save the file as \"CSV UTF-8\"",
	}
	pr, _ := newProgram(t)
	for _, flags := range [][]string{{"--dry-run"}, nil} {
		got := pr.run(t.Context(), append([]string{"file", testkit.WriteFile(t, "orders.csv", text)}, flags...)...)
		if got.status != 3 {
			t.Errorf("%v: status %d", flags, got.status)
		}
		for _, w := range want {
			if strings.Count(got.stderr, w) != 1 {
				t.Errorf("%v: %q is not told once:\n%s", flags, w, got.stderr)
			}
		}
	}
}

func TestFile_JSON(t *testing.T) {
	t.Parallel()
	pr, _ := newProgram(t)
	path := testkit.WriteFile(t, "orders.ndjson", `{"out_order_no":"A1"}`+"\n\n"+`{"out_order_no":2}`+"\n"+`{"out_order_no":"A1","appid":"wx2"}`+"\n"+`{"mchid":"42","out_order_no":"A1"}`)
	got := pr.run(t.Context(), "file", "--json", path)
	if got.status != 3 {
		t.Errorf("status %d", got.status)
	}
	wantJSON(t, got.stdout,
		`{"mchid":"1900000001","out_order_no":"A1","result":"accepted","state":"queued","line":1}`,
		`{"mchid":"1900000001","out_order_no":"","result":"invalid","reason":"out_order_no is a number; write it in quotes, because numbers lose leading zeros","line":3}`,
		`{"mchid":"1900000001","out_order_no":"A1","result":"conflict","state":"queued","reason":"open already under another appid or service_id","line":4}`,
		`{"mchid":"42","out_order_no":"A1","result":"accepted","state":"queued","line":5}`,
	)
}

func TestFile_StandardInput(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, flags string }{
		{"CSV, guessed", "out_order_no\nA1\n", ""},
		{"JSONL, guessed", `{"out_order_no":"A1"}`, ""},
		{"JSONL, told", `{"out_order_no":"A1"}`, "--format=jsonl"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pr, _ := newProgram(t)
			pr.stdin = strings.NewReader(tc.text)
			wantRun(t, pr.run(t.Context(), append([]string{"file", "-"}, strings.Fields(tc.flags)...)...), 0,
				[]string{"A1 accepted"}, "standard input: 1 rows in")
		})
	}
}

func TestFile_FormatIsToldByTheName(t *testing.T) {
	t.Parallel()
	pr, _ := newProgram(t)
	path := testkit.WriteFile(t, "orders.CSV", `{"out_order_no":"A1"}`)
	wantRun(t, pr.run(t.Context(), "file", path), 2, nil, "has no column out_order_no")
	wantRun(t, pr.run(t.Context(), "file", path, "--format", "jsonl"), 0, []string{"A1 accepted"}, "1 accepted")
}

func TestFile_Reopen(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	pr.run(t.Context(), "order", "A1")
	endOrder(t, server, "A1", tasks.Exhausted, "")
	path := testkit.WriteFile(t, "orders.csv", "out_order_no\nA1\n")
	wantRun(t, pr.run(t.Context(), "file", path), 3, []string{"A1 ended exhausted"}, "1 ended")
	wantRun(t, pr.run(t.Context(), "file", path, "--reopen"), 0, []string{"A1 accepted"}, "1 accepted")
}

// A file that is wrong as a whole enqueues nothing.
func TestFile_Refused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text, flags string
		status            int
		want              string
	}{
		{"empty", "", "", 2, "orders.csv is empty: no header row"},
		{"no column", "no,appid\nA1,wx\n", "", 2, `orders.csv has no column out_order_no: its header row is "no,appid"`},
		{"UTF-16", "\xff\xfeo\x00", "", 2, "orders.csv is in UTF-16"},
		{"unknown format", "out_order_no\n", "--format=xml", 2, "--format must be one of"},
		{"no orders", "out_order_no\n", "", 0, "orders.csv: no orders in it"},
		{"no orders, JSONL", "\n", "--format=jsonl", 0, "orders.csv: no orders in it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pr, _ := newProgram(t)
			path := testkit.WriteFile(t, "orders.csv", tc.text)
			wantRun(t, pr.run(t.Context(), append([]string{"file", path}, strings.Fields(tc.flags)...)...), tc.status, nil, tc.want)
		})
	}
	t.Run("what neither flags nor columns give", func(t *testing.T) {
		pr, _ := newProgram(t)
		pr.env["PAYSCORE_APPID"] = ""
		wantRun(t, pr.run(t.Context(), "file", testkit.WriteFile(t, "orders.csv", "out_order_no\nA1\n")), 2, nil,
			"missing: appid (--appid or PAYSCORE_APPID); or give ", "orders.csv a column of that name")
		wantRun(t, pr.run(t.Context(), "file", testkit.WriteFile(t, "orders.csv", "out_order_no,appid\nA1,wx\nA2,\n")), 3,
			[]string{"A1 accepted", "A2 invalid line 3: appid is missing; name it, or set PAYSCORE_APPID"}, "1 accepted, 1 invalid")
	})
	t.Run("no such file", func(t *testing.T) {
		pr, _ := newProgram(t)
		wantRun(t, pr.run(t.Context(), "file", "/no/such.csv"), 1, nil, "/no/such.csv cannot be read: no such file or directory\n")
	})
	t.Run("a directory", func(t *testing.T) {
		pr, _ := newProgram(t)
		wantRun(t, pr.run(t.Context(), "file", t.TempDir()), 1, nil, "cannot be read: is a directory\n")
	})
	t.Run("the rejects would overwrite it", func(t *testing.T) {
		pr, _ := newProgram(t)
		path := testkit.WriteFile(t, "orders.csv", "out_order_no\nA.1\n")
		wantRun(t, pr.run(t.Context(), "file", path, "--rejects", path), 2, nil, "is the file that is read")
	})
}

func TestFile_RejectsAreCorrectedAndEnqueued(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, bad, corrected string }{
		{"orders.csv", "note,out_order_no\nx,A1\ny,A.2\nz,\"A3\nw,DONE\n", ",,4,", ",A3,4,"},
		{"orders.jsonl", `{"note":"x","out_order_no":"A1"}` + "\n" + `{"note":"y","out_order_no":"A.2"}` + "\n" +
			`{"note":"z","out_order_no":"A3"` + "\n" + `{"note":"w","out_order_no":"DONE"}` + "\n", `{"line":3,`, `{"line":3,"out_order_no":"A3",`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pr, server := newProgram(t)
			pr.run(t.Context(), "order", "DONE")
			endOrder(t, server, "DONE", tasks.Withdrawn, "")
			rejects := filepath.Join(t.TempDir(), "rejects"+filepath.Ext(tc.name))
			if got := pr.run(t.Context(), "file", testkit.WriteFile(t, tc.name, tc.text), "--rejects", rejects); got.status != 3 {
				t.Fatalf("status %d:\n%s", got.status, got.stderr)
			}

			again := filepath.Join(t.TempDir(), "again"+filepath.Ext(tc.name))
			got := pr.run(t.Context(), "file", rejects, "--rejects", again)
			if got.status != 3 || len(linesOf(got.stdout)) != 3 || strings.Contains(got.stdout, "accepted") || strings.Contains(got.stderr, "ignored columns: line") {
				t.Errorf("enqueued as it is: status %d\n%s%s", got.status, got.stdout, got.stderr)
			}

			text, err := os.ReadFile(rejects)
			if err != nil {
				t.Fatal(err)
			}
			corrected := strings.NewReplacer("A.2", "A2", tc.bad, tc.corrected).Replace(string(text))
			wantRun(t, pr.run(t.Context(), "file", testkit.WriteFile(t, tc.name, corrected), "--reopen"), 0,
				[]string{"A2 accepted", "A3 accepted", "DONE accepted"}, "3 accepted")
		})
	}
}

func TestFile_Rejects(t *testing.T) {
	t.Parallel()
	good := "out_order_no\nA1\n"
	t.Run("none, no file", func(t *testing.T) {
		pr, _ := newProgram(t)
		rejects := filepath.Join(t.TempDir(), "rejects.csv")
		wantRun(t, pr.run(t.Context(), "file", testkit.WriteFile(t, "orders.csv", good), "--rejects", rejects), 0, []string{"A1 accepted"}, "1 accepted")
		if _, err := os.Stat(rejects); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("there is one: %v", err)
		}
	})
	t.Run("none, but a file from an earlier run", func(t *testing.T) {
		pr, _ := newProgram(t)
		wantRun(t, pr.run(t.Context(), "file", testkit.WriteFile(t, "orders.csv", good), "--rejects", testkit.WriteFile(t, "rejects.csv", "x")), 0,
			[]string{"A1 accepted"}, "no row was refused; ", "rejects.csv is from an earlier run")
	})
	t.Run("a path that cannot be written is noticed before the first row", func(t *testing.T) {
		pr, server := newProgram(t)
		for _, path := range []string{"/no/such/rejects.csv", t.TempDir()} {
			wantRun(t, pr.run(t.Context(), "file", testkit.WriteFile(t, "orders.csv", good), "--rejects", path), 1, nil,
				"write the rejects file: ", path, "; nothing was enqueued\n")
		}
		if n, err := server.Client.DBSize(t.Context()).Result(); n != 0 || err != nil {
			t.Errorf("%d keys, %v", n, err)
		}
	})
	t.Run("a full disk costs the rejects, not the orders", func(t *testing.T) {
		pr, _ := newProgram(t)
		got := pr.run(t.Context(), "file", testkit.WriteFile(t, "orders.csv", "out_order_no\nA.1\nA.2\nA1\n"), "--rejects", "/dev/full")
		if got.status != 1 || !strings.Contains(got.stdout, "A1 accepted") || strings.Count(got.stderr, "write the rejects file: ") != 1 {
			t.Errorf("status %d\n%s%s", got.status, got.stdout, got.stderr)
		}
	})
}

func TestFile_DryRun(t *testing.T) {
	t.Parallel()
	pr := programOn("") // no REDIS_URL
	path := testkit.WriteFile(t, "orders.csv", "out_order_no\nA1\nA.2\n")
	rejects := filepath.Join(t.TempDir(), "rejects.csv")
	wantRun(t, pr.run(t.Context(), "file", path, "--dry-run", "--rejects", rejects), 3,
		[]string{"A1 valid", "A.2 invalid line 3: out_order_no has '.' at position 2; only digits, letters and _ | * - are allowed"},
		"1 valid, 1 invalid")
	if _, err := os.Stat(rejects); err != nil {
		t.Error(err)
	}
	wantRun(t, pr.run(t.Context(), "file", testkit.WriteFile(t, "orders.csv", "out_order_no\nA1\n"), "--dry-run"), 0, []string{"A1 valid"}, "1 valid")

	t.Run("touches no Redis", func(t *testing.T) {
		pr, server := newProgram(t)
		pr.run(t.Context(), "file", path, "--dry-run")
		if n, err := server.Client.DBSize(t.Context()).Result(); n != 0 || err != nil {
			t.Errorf("%d keys, %v", n, err)
		}
	})
	t.Run("but a bad REDIS_URL is said", func(t *testing.T) {
		wantRun(t, programOn("http://x").run(t.Context(), "file", path, "--dry-run"), 2, nil, "REDIS_URL cannot be used")
	})
}

func TestFile_ManyBadRows(t *testing.T) {
	t.Parallel()
	path := testkit.WriteFile(t, "orders.csv", "out_order_no\n"+strings.Repeat("A.1\n", 50)+"A1\n")
	pr, _ := newProgram(t)
	got := pr.run(t.Context(), "file", path)
	if n := strings.Count(got.stderr, ": invalid"); n != 20 {
		t.Errorf("%d bad rows are spelt out, want 20", n)
	}
	if !strings.Contains(got.stderr, "... and 30 more; --rejects FILE lists them all\n") {
		t.Errorf("standard error\n%s", got.stderr)
	}
	got = pr.run(t.Context(), "file", path, "--rejects", filepath.Join(t.TempDir(), "r.csv"))
	if !strings.Contains(got.stderr, "... and 30 more; all of them are in the rejects file\n") {
		t.Errorf("standard error\n%s", got.stderr)
	}
}

func TestFile_Terminal(t *testing.T) {
	t.Parallel()
	path := testkit.WriteFile(t, "orders.csv", "out_order_no\nA1\nA.2\nA3\n")
	t.Run("a person sees what needs attention, once", func(t *testing.T) {
		pr, _ := newProgram(t)
		pr.stdoutTerminal, pr.stderrTerminal = true, true
		got := pr.run(t.Context(), "file", path)
		if lines := linesOf(got.stdout); len(lines) != 1 || !strings.HasPrefix(lines[0], "A.2 invalid line 3: ") {
			t.Errorf("standard output %q", lines)
		}
		if strings.Contains(got.stderr, "line 3") || !strings.Contains(got.stderr, "2 accepted, 1 invalid") {
			t.Errorf("standard error %q", got.stderr)
		}
	})
	t.Run("JSON is whole", func(t *testing.T) {
		pr, _ := newProgram(t)
		pr.stdoutTerminal = true
		if got := pr.run(t.Context(), "file", path, "--json"); len(linesOf(got.stdout)) != 3 {
			t.Errorf("standard output %q", got.stdout)
		}
	})
}

func TestReporter_Progress(t *testing.T) {
	var stderr testkit.LogBuffer
	p := process{Process: config.Process{Name: "enqueue", Stdout: io.Discard, Stderr: &stderr}}
	r := newReporter(p, false)
	r.file, r.size = "orders.csv", 1000
	r.progress(10) // too early
	for _, size := range []int64{1000, 0} {
		r.size, r.rows, r.start, r.told = size, 300, time.Now().Add(-20*time.Second), time.Now().Add(-progressEvery)
		r.progress(310)
		r.progress(320) // too early again
	}
	want := "enqueue: orders.csv: 300 rows so far (15 rows/s), 31 % of the file\nenqueue: orders.csv: 300 rows so far (15 rows/s)\n"
	if got := stderr.String(); got != want {
		t.Errorf("standard error %q, want %q", got, want)
	}
}

func TestFile_RedisDown(t *testing.T) {
	t.Parallel()
	pr := programOn("redis://127.0.0.1:1/0")
	wantRun(t, pr.run(t.Context(), "file", testkit.WriteFile(t, "orders.csv", "out_order_no\nA1\n")), 1, nil,
		"cannot use Redis at redis://127.0.0.1:1/0", "nothing was enqueued")
}

// A row that was read before the signal is enqueued; half a row is not.
func TestFile_InterruptedPipe(t *testing.T) {
	t.Parallel()
	pr, server := newProgram(t)
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	defer in.Close()
	pr.stdin = out
	r := pr.start(ctx, "file", "-")
	fmt.Fprint(in, "out_order_no\n"+strings.Repeat("A1\n", 500))
	// The second batch is answered when another order is read, or none comes.
	testkit.Eventually(t, "the first batch", func() bool { return len(r.stdout.Lines()) == 250 })
	fmt.Fprint(in, "A2\nA3-is-not-whole")
	cancel()

	got := r.wait()
	if got.status != 1 {
		t.Errorf("status %d, want 1", got.status)
	}
	for _, want := range []string{"interrupted after line 50", "run the same command again", " rows in "} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("standard error lacks %q:\n%s", want, got.stderr)
		}
	}
	// Whether A2 was read before the signal is chance.
	_, err := ledger.New(server.Client, mchid).Get(t.Context(), "A2")
	if answered := strings.Contains(got.stdout, "A2 accepted\n"); answered != (err == nil) {
		t.Errorf("A2 is answered: %v; in the ledger: %v", answered, err)
	}
	if n, err := server.Client.ZCard(t.Context(), ledger.KeysOf(mchid).Due()).Result(); n > 2 || err != nil {
		t.Errorf("%d orders are in the ledger, %v", n, err)
	}
}

func TestFile_InterruptedBeforehand(t *testing.T) {
	t.Parallel()
	pr, _ := newProgram(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out, in := io.Pipe()
	defer in.Close()
	pr.stdin = out
	wantRun(t, pr.run(ctx, "file", "-"), 1, nil, "interrupted: nothing was enqueued")
}

func TestFile_UnreadableMidway(t *testing.T) {
	t.Parallel()
	pr, _ := newProgram(t)
	pr.stdin = io.MultiReader(strings.NewReader("out_order_no\nA1\nA2"), failing{})
	wantRun(t, pr.run(t.Context(), "file", "-"), 1, []string{"A1 accepted"},
		"standard input cannot be read: the disk is gone, after line 2", "1 accepted")
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk is gone") }

func TestFile_ManyRows(t *testing.T) {
	t.Parallel()
	const rows = 5_000
	var text strings.Builder
	text.WriteString("out_order_no,note\n")
	for i := range rows {
		fmt.Fprintf(&text, "A%d,x\n", i)
	}
	pr, server := newProgram(t)
	path := testkit.WriteFile(t, "orders.csv", text.String())
	for _, want := range []string{"5000 accepted", "5000 duplicate"} {
		got := pr.run(t.Context(), "file", path)
		if got.status != 0 || !strings.Contains(got.stderr, want+"\n") {
			t.Errorf("status %d, standard error\n%s", got.status, got.stderr)
		}
		for i, line := range linesOf(got.stdout) {
			if !strings.HasPrefix(line, fmt.Sprintf("A%d ", i)) {
				t.Fatalf("line %d is %q: answers are out of order", i+1, line)
			}
		}
	}
	stats, err := ledger.New(server.Client, mchid).Stats(t.Context())
	if err != nil || stats.Orders[tasks.Queued] != rows {
		t.Errorf("%d orders are queued, %v", stats.Orders[tasks.Queued], err)
	}
}
