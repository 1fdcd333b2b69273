//go:build chaos

package faultpoint

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Fault points are driven through two files that the process inherits. It reads
// orders of the form "kill POINT", "stop POINT" and "off" from the first, one a line,
// and writes "UNIX-MICROSECONDS POINT OUT_ORDER_NO" to the second for each point that
// it reaches, followed by the order's verb where it obeys one. What was written
// survives a SIGKILL.
const (
	ordersFD = 3
	traceFD  = 4
)

// Env names the variable that switches the points on: set to 1.
const Env = "PAYSCORE_FAULTPOINTS"

type order struct {
	verb  string
	point Point
}

var (
	on    = os.Getenv(Env) == "1"
	armed atomic.Pointer[order]
	trace *os.File
)

func init() {
	if !on {
		return
	}
	trace = os.NewFile(traceFD, "trace")
	go obey(os.NewFile(ordersFD, "orders"))
}

func obey(orders *os.File) {
	lines := bufio.NewScanner(orders)
	for lines.Scan() {
		verb, point, _ := strings.Cut(lines.Text(), " ")
		if verb == "off" {
			armed.Store(nil)
			continue
		}
		armed.Store(&order{verb, Point(point)})
	}
}

// Reach reports that the step of an order has come to a point. Calls that are about
// no order, such as a download of certificates, have no points.
func Reach(p Point, outOrderNo string) {
	if !on || outOrderNo == "" {
		return
	}
	o := armed.Load()
	mine := o != nil && o.point == p && armed.CompareAndSwap(o, nil)
	verb := ""
	if mine {
		verb = o.verb
	}
	write(time.Now(), p, outOrderNo, verb)
	if !mine {
		return
	}
	signal := syscall.SIGSTOP
	if o.verb == "kill" {
		signal = syscall.SIGKILL
	}
	_ = syscall.Kill(os.Getpid(), signal)
	// The signal stops the threads one after the other. This one waits until it is
	// stopped as well.
	time.Sleep(20 * time.Millisecond)
}

func write(at time.Time, p Point, outOrderNo, verb string) {
	line := strconv.AppendInt(make([]byte, 0, 80), at.UnixMicro(), 10)
	for _, word := range []string{string(p), outOrderNo, verb} {
		if word != "" {
			line = append(append(line, ' '), word...)
		}
	}
	_, _ = trace.Write(append(line, '\n')) // one write: lines do not mix
}

// Grant writes down that the order's step was granted a call at a time of Redis's
// clock, and how long that call must wait. asked is when a claim was asked for, by
// the worker's clock; it is zero for a permit, which belongs to the same claim.
func Grant(asked, at time.Time, wait time.Duration, outOrderNo string) {
	if !on {
		return
	}
	if !asked.IsZero() {
		write(asked, Asked, outOrderNo, "")
	}
	write(at, Granted, outOrderNo, "")
	write(at.Add(wait), Slot, outOrderNo, "")
}
