package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a process that this one started.
type child struct {
	cmd *exec.Cmd
	out *lines
}

// lines keeps the end of what a process says.
type lines struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	also *os.File // nil: nobody
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.also != nil {
		_, _ = l.also.Write(p)
	}
	if l.buf.Len() > 64<<10 {
		l.buf.Reset()
	}
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// start starts a program with exactly that environment. What it says goes to a
// file in the lab's directory, as it would in production.
func (l *lab) start(program string, env []string, args ...string) (*child, error) {
	c := &child{cmd: exec.Command(program, args...), out: &lines{}}
	c.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.CreateTemp(l.dir, "log-")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.cmd.Stderr = log
	if l.verbose {
		c.cmd.Stderr = os.Stderr
	}
	c.cmd.Stdout = c.out
	return c, c.cmd.Start()
}

// stop asks for an end in order, waits, and returns the processor time that the
// process has had in all, by the kernel's own count.
func (c *child) stop() (time.Duration, error) {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	timer := time.AfterFunc(40*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	if err := c.cmd.Wait(); err != nil {
		return 0, fmt.Errorf("%s ended with %w", c.cmd.Path, err)
	}
	return c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime(), nil
}

// kill ends it at once. It may be called again, and after stop.
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// memory returns the process's resident memory now and the most it ever was,
// in bytes.
func (c *child) memory() (now, most int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			now = kib << 10
		case "VmHWM:":
			most = kib << 10
		}
	}
	if most == 0 {
		err = errors.New("the process is gone")
	}
	return now, most, err
}

// used returns the processor time of the process so far, to 10 ms.
func (c *child) used() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// busyNow begins to watch the machine; the returned function says how much of
// it was used in the meantime by whomever.
func busyNow() func() string {
	read := func() (busy, all int64) {
		stat, err := os.ReadFile("/proc/stat")
		if err != nil {
			return 0, 0
		}
		first, _, _ := strings.Cut(string(stat), "\n")
		for i, s := range strings.Fields(first)[1:] {
			n, _ := strconv.ParseInt(s, 10, 64)
			all += n
			if i != 3 && i != 4 { // idle, iowait
				busy += n
			}
		}
		return busy, all
	}
	busy, all := read()
	return func() string {
		b, a := read()
		if a <= all {
			return ""
		}
		return fmt.Sprintf("; the machine was %.0f %% busy", 100*float64(b-busy)/float64(a-all))
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
