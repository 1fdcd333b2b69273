package testkit

import (
	"cmp"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asCommand makes a test binary be the command that it tests.
const asCommand = "PAYSCORE_TEST_AS_COMMAND"

// MainIfCommand runs main and exits where the test binary was started by Command. A
// TestMain calls it first.
func MainIfCommand(main func()) {
	if os.Getenv(asCommand) == "1" {
		main()
		os.Exit(0)
	}
}

// Command returns the command under test as a process to be started: this test
// binary, whose TestMain calls MainIfCommand, with no environment but env and PATH.
func Command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append([]string{asCommand + "=1", "PATH=" + os.Getenv("PATH")}, env...)
	return cmd
}

// Build builds commands of this module, such as "cmd/worker", and returns the
// directory that has the binaries. Flags of go build may come first.
func Build(t testing.TB, env []string, args ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	all := []string{"build", "-o", dir + string(filepath.Separator)}
	for _, arg := range args {
		if len(arg) > 4 && arg[:4] == "cmd/" {
			arg = "payscore-collector/" + arg
		}
		all = append(all, arg)
	}
	cmd := exec.Command("go", all...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %v: %v\n%s", args, err, out)
	}
	return dir
}

// Start starts a command whose process ends with this one, by SIGKILL if the command names
// no other signal (Pdeathsig). Linux sends that signal when the thread ends that has started
// the process, and a worker's signer ends threads: so one thread, which stays, starts all.
func Start(cmd *exec.Cmd) (err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = cmp.Or(cmd.SysProcAttr.Pdeathsig, syscall.SIGKILL)
	started := make(chan struct{})
	starter() <- func() {
		defer close(started)
		err = cmd.Start()
	}
	<-started
	return err
}

var starter = sync.OnceValue(func() chan<- func() {
	starts := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range starts {
			start()
		}
	}()
	return starts
})

// Process is a running process, which is killed when its test ends.
type Process struct {
	// Log has what the process writes to standard error, and to standard output
	// unless cmd sends that elsewhere.
	Log *LogBuffer

	t      testing.TB
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of Wait, valid once exited is closed
}

// StartProcess starts a process. Output that cmd does not send elsewhere goes to the
// process's Log.
func StartProcess(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{t: t, cmd: cmd, exited: make(chan struct{})}
	if log, ok := cmd.Stderr.(*LogBuffer); ok {
		p.Log = log
	} else {
		p.Log = &LogBuffer{}
	}
	for _, out := range []*io.Writer{&cmd.Stdout, &cmd.Stderr} {
		if *out == nil {
			*out = p.Log
		}
	}
	if err := Start(cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(p.Kill)
	return p
}

// PID returns the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the process as a crash would (SIGKILL), and waits for its end. It may be
// called again.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Signal sends a signal.
func (p *Process) Signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// Stop sends a signal, waits for the end, and returns the exit status.
func (p *Process) Stop(sig os.Signal) int {
	p.t.Helper()
	p.Signal(sig)
	return p.Exit(Patience)
}

// Exit waits for the process to end by itself and returns its exit status. It kills
// the process and fails the test after patience.
func (p *Process) Exit(patience time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.Kill()
		p.t.Fatalf("%s did not end within %s\n%s", p.cmd.Path, patience, p.Log)
	}
	var ended *exec.ExitError
	if p.err != nil && !errors.As(p.err, &ended) {
		p.t.Fatal(p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}
