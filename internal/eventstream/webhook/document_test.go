package webhook

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/hooktest"
	"payscore-collector/tasks"
)

// The receiver in docs/events.md books each payment once: of an order that was paid in
// parts before and after it ended, of a repeated webhook, and of an order that was
// enqueued again after RETENTION.
func TestDocumentedReceiverBooksEachPaymentOnce(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	text, err := os.ReadFile("../../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("(?s)```python\n(.*?)```").FindSubmatch(text)
	if code == nil {
		t.Fatal("docs/events.md has no receiver")
	}
	port := testkit.FreePort(t)
	program := filepath.Join(t.TempDir(), "receiver.py")
	if err := os.WriteFile(program, []byte(strings.Replace(string(code[1]), "8000", fmt.Sprint(port), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	receiver := exec.CommandContext(t.Context(), python, program)
	receiver.Env = append(os.Environ(), "BILLING_WEBHOOK_SECRET="+hooktest.Secret)
	receiver.Stderr = os.Stderr
	out, err := receiver.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := receiver.Start(); err != nil {
		t.Fatal(err)
	}

	s := newSender(t, fmt.Sprintf("http://127.0.0.1:%d/payscore", port))
	n := 0
	send := func(state tasks.State, payments ...ledger.Payment) {
		t.Helper()
		e := ledger.Event{ID: fmt.Sprintf("1900000001-%d-0", n), Type: "order.paid", MchID: "1900000001", OutOrderNo: "A", State: state, Payments: payments}
		n++
		for deadline := time.Now().Add(time.Minute); !s.post(t.Context(), e, time.Now().Add(5*time.Second)).delivered(); <-time.After(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the receiver does not accept it")
			}
		}
	}
	first := ledger.Payment{Seq: 1, TransactionID: "T1", Amount: 400, PaidType: "NEWTON", PaidAt: time.Unix(1764000000, 0).UTC()}
	second := ledger.Payment{Seq: 2, TransactionID: "T2", Amount: 450, PaidType: "NEWTON", PaidAt: time.Unix(1764000001, 0).UTC()}
	counter := ledger.Payment{Seq: 3, Amount: 400, PaidType: "MCH", PaidAt: time.Unix(1764000002, 0).UTC()}
	send(tasks.Withdrawn, first)
	send(tasks.Withdrawn, first, second)
	send(tasks.Withdrawn, first, second, counter)
	send(tasks.Withdrawn, first, second, counter)
	send(tasks.Paid, first) // enqueued again
	if err := receiver.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var booked []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if line, ok := strings.CutPrefix(lines.Text(), "  book 1900000001 "); ok {
			booked = append(booked, line)
		}
	}
	_ = receiver.Wait() // it was killed
	want := []string{"T1 400 NEWTON 2025-11-24T16:00:00Z", "T2 450 NEWTON 2025-11-24T16:00:01Z", "A#3 400 MCH 2025-11-24T16:00:02Z"}
	if !slices.Equal(booked, want) {
		t.Errorf("booked %q, want %q", booked, want)
	}
}
