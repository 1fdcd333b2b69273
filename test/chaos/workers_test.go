package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"payscore-collector/internal/faultpoint"
	"payscore-collector/internal/testkit"
)

// process is one worker process, from its start to its end.
type process struct {
	name  string // "w1.3": the third process of worker 1
	cmd   *exec.Cmd
	trace string        // path
	log   string        // path
	ahead time.Duration // its clock

	orders *os.File // for its fault points
	exited chan struct{}
	status error // valid after exited
}

// freeze is a time during which a process stood still.
type freeze struct {
	process  string
	from, to time.Time
}

// death is a worker process that the nemesis has killed.
type death struct {
	process string
	at      time.Time
	point   faultpoint.Point // "" for one at random
}

// worker is one place in the workers, in which processes follow each other.
type worker struct {
	e     *env
	no    int
	url   string // of Redis, as this worker sees it
	proxy *proxy // nil in topologies of several nodes
	bin   string
	ahead time.Duration // the clock of that binary
	env   []string      // beside the usual

	now  *process
	born int
}

// start starts the next process of a worker.
func (k *worker) start() error {
	k.born++
	p := &process{name: fmt.Sprintf("w%d.%d", k.no, k.born), ahead: k.ahead, exited: make(chan struct{})}
	p.trace = filepath.Join(k.e.dir, p.name+".trace")
	trace, err := os.OpenFile(p.trace, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer trace.Close()
	p.log = filepath.Join(k.e.dir, p.name+".log")
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	orders, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	defer orders.Close()
	p.cmd = exec.Command(k.bin)
	p.cmd.Env = append(append([]string{
		"PATH=" + os.Getenv("PATH"), "REDIS_URL=" + k.url, "PAYSCORE_FAULTPOINTS=1",
	}, k.e.env...), k.env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.ExtraFiles = []*os.File{orders, trace}
	if err := testkit.Start(p.cmd); err != nil {
		_ = ours.Close()
		return err
	}
	p.orders = ours
	go func() {
		p.status = p.cmd.Wait()
		_ = ours.Close()
		close(p.exited)
	}()
	k.now = p
	k.e.journal.born(p)
	return nil
}

// arm has the process obey verb (kill, stop) at the next point of that name;
// "off" takes it back.
func (p *process) arm(verb string, point faultpoint.Point) {
	_, _ = fmt.Fprintln(p.orders, verb, string(point)) // a dead process does not read it
}

// kill ends the process as a crash would, and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// killed reports whether the process was ended by SIGKILL.
func (p *process) killed() bool {
	var ee *exec.ExitError
	if !errors.As(p.status, &ee) {
		return false
	}
	ws, ok := ee.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL
}

// exitsWithin reports whether the process ends in that time.
func (p *process) exitsWithin(d time.Duration) bool {
	select {
	case <-p.exited:
		return true
	case <-time.After(d):
		return false
	}
}

// stopped reports whether the process stands still.
func (p *process) stopped() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return false
	}
	// PID (NAME) STATE ...; the name may hold anything.
	_, rest, _ := strings.Cut(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):]), " ")
	return strings.HasPrefix(rest, "T")
}

// stopsWithin reports whether the process comes to stand still in that time.
func (p *process) stopsWithin(d time.Duration) bool {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); {
		if p.stopped() {
			return true
		}
		<-time.After(5 * time.Millisecond)
	}
	return p.stopped()
}

// book is what was done to whom, and what the platform saw. It is the evidence.
type journal struct {
	mu        sync.Mutex
	processes []*process
	deaths    []death
	freezes   []freeze
	outages   []outage       // of Redis
	jumps     []jump         // of its clock
	pauses    []paused       // of the merchant
	hits      map[string]int // by fault
	misses    map[string]int // faults that found nothing to hit
	trouble   []string       // of the harness itself, or of a worker that ended unasked
}

// outage is a time during which Redis, or the way to it, was disturbed for some
// worker.
type outage struct {
	what     string
	from, to time.Time
	// lossy: another node took the place of a master, and may not have had what
	// was written last.
	lossy bool
}

func (b *journal) born(p *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.processes = append(b.processes, p)
}

func (b *journal) death(d death) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deaths = append(b.deaths, d)
}

func (b *journal) freeze(f freeze) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.freezes = append(b.freezes, f)
}

func (b *journal) outage(o outage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outages = append(b.outages, o)
}

func (b *journal) countFault(name string, hit bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hits == nil {
		b.hits, b.misses = map[string]int{}, map[string]int{}
	}
	if hit {
		b.hits[name]++
	} else {
		b.misses[name]++
	}
}

func (b *journal) fail(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trouble = append(b.trouble, fmt.Sprintf(format, args...))
}
