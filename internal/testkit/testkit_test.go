package testkit_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"payscore-collector/internal/testkit"
)

// The test binary as a command: it prints its arguments and environment, and with
// "wait" runs until it is killed.
func TestMain(m *testing.M) {
	testkit.MainIfCommand(func() {
		fmt.Println(os.Args[1:], os.Getenv("ANSWER"))
		if os.Args[1] == "wait" {
			select {}
		}
		os.Exit(3)
	})
	os.Exit(m.Run())
}

func TestLogBuffer(t *testing.T) {
	var b testkit.LogBuffer
	for _, line := range []string{
		`{"event":"hold_set","mchid":"1","attempt":2,"message":"calls stopped"}`,
		`{"event":"hold_set","mchid":"2","message":"calls stopped"}`,
		`not JSON, with hold_set`,
		`{"event":"hold_cleared","mchid":"1","message":"calls resumed"}`,
	} {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprint(&b, `{"event":"hold_set","mchid":"1"`) // still being written
	for want, got := range map[string]int{
		"2 of the event":            len(b.Events("hold_set")),
		"1 of the event and fields": len(b.Events("hold_set", "mchid", "1", "attempt", 2)),
		"0 with another value":      len(b.Events("hold_set", "mchid", 3)),
		"0 without the field":       len(b.Events("hold_cleared", "attempt", 2)),
		"2 by message":              len(b.Messages("calls s")),
		"3 records":                 len(b.Records()),
		"0 of a part of the name":   len(b.Events("hold")),
		"4 whole lines":             len(b.Lines()),
	} {
		if !strings.HasPrefix(want, fmt.Sprint(got)) {
			t.Errorf("got %d, want %s", got, want)
		}
	}
	if all := b.Take(); all == "" || b.String() != "" {
		t.Errorf("Take returned %q and left %q", all, b.String())
	}
}

func TestProcess(t *testing.T) {
	p := testkit.StartProcess(t, testkit.Command([]string{"ANSWER=42"}, "end"))
	if status := p.Exit(testkit.Patience); status != 3 || p.Log.String() != "[end] 42\n" || p.Running() {
		t.Errorf("exit status %d, want 3; output %q, want [end] 42", status, p.Log)
	}
	p = testkit.StartProcess(t, testkit.Command(nil, "wait"))
	testkit.Eventually(t, "its output", func() bool { return p.Log.Has("[wait]") }, p.Log)
	if !p.Running() {
		t.Error("a process that waits does not count as running")
	}
	if status := p.Stop(syscall.SIGTERM); status != -1 {
		t.Errorf("exit status %d after a signal, want -1", status)
	}
	p = testkit.StartProcess(t, testkit.Command(nil, "wait"))
	p.Kill()
	p.Kill()
	if p.Running() {
		t.Error("a process that was killed counts as running")
	}
}

// A process that was started on a thread that ends is killed by Linux (Pdeathsig).
func TestStart_OutlivesThreads(t *testing.T) {
	cat := exec.Command("cat")
	in, err := cat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cat.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	thread, started := 0, make(chan struct{})
	var start func()
	start = func() {
		runtime.LockOSThread() // so that its thread ends with it
		if thread = syscall.Gettid(); thread == os.Getpid() {
			defer runtime.UnlockOSThread()
			go start() // elsewhere: the main thread does not end
			<-started
			return
		}
		defer close(started)
		err = testkit.Start(cat)
	}
	go start()
	<-started
	task := fmt.Sprintf("/proc/self/task/%d", thread)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the thread to end", func() bool {
		_, err := os.Stat(task)
		return err != nil
	})
	fmt.Fprintln(in, "alive")
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "alive\n" {
		t.Errorf("the process has ended with the thread: %q, %v", line, err)
	}
	_ = in.Close()
	_ = cat.Wait()
}

func TestForm(t *testing.T) {
	for value, want := range map[string]int{"": 1, "0": 1, "1": 100} {
		t.Setenv(testkit.LongVariable, value)
		if got := testkit.Form(1, 100); got != want {
			t.Errorf("with %s=%q: %d, want %d", testkit.LongVariable, value, got, want)
		}
	}
}
