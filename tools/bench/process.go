package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is a program that bench has started.
type process struct{ cmd *exec.Cmd }

// start runs a program with exactly the given environment. Its log goes to a
// file, as it would in production.
func (e *env) start(program string, environment []string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...)}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, environment...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.CreateTemp(e.dir, "log-")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stderr = log
	if e.verbose {
		p.cmd.Stderr = os.Stderr
	}
	return p, p.cmd.Start()
}

// stop sends SIGTERM, waits for the process to exit, and returns the processor
// time of its whole life by the kernel's count.
func (p *process) stop() (time.Duration, error) {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	timer := time.AfterFunc(40*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	if err := p.cmd.Wait(); err != nil {
		return 0, fmt.Errorf("%s: %w", p.cmd.Path, err)
	}
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(), nil
}

// kill ends the process at once. It does nothing where the process has exited.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// maxMemory returns the most resident memory that the process has had so far,
// in bytes, or 0 where it has exited.
func (e *env) maxMemory(p *process) uint64 {
	proc, err := e.proc.Proc(p.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	status, _ := proc.NewStatus()
	return status.VmHWM
}

// cpu returns the processor time of the process so far, to 10 ms.
func (e *env) cpu(p *process) time.Duration {
	proc, err := e.proc.Proc(p.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	stat, _ := proc.Stat()
	return time.Duration(stat.CPUTime() * float64(time.Second))
}
