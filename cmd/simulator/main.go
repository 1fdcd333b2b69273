// Command simulator is a WeChat Pay PayScore platform to develop and test
// against. See package internal/simulator for what it can do.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/simulator"
)

const description = `A WeChat Pay PayScore platform to develop and test against.

It writes a merchant's keys and settings into --dir, and a worker needs no more than these (and Redis) to call it:

    set -a; . DIR/merchant.env; set +a

Orders are added, made to fail and audited under /_sim/; payments are notified to --notify-url. The fate of an order is one of pays, declines:N, userpaying:D, user_pays:D, never, partial:FEN, parts:N, mixed:LETTERS, lower:FEN, not_completed, created, revoked, expired, nothing_owed and unknown ("go doc ./internal/simulator Fate" explains them). POST /_sim/orders/NO/pay and /_sim/orders/NO/lower let the user pay and the merchant lower the total amount at any moment. That API has no authentication, so listen only where you alone can connect.`

type cli struct {
	Addr        string        `help:"Address to listen on; port 0 picks a free one." default:"127.0.0.1:8090" placeholder:"HOST:PORT"`
	Dir         string        `help:"Directory for the merchant's keys and merchant.env; created where absent, and used again where it holds them already." required:"" placeholder:"DIR"`
	BaseURL     string        `help:"URL to write into merchant.env; by default made from --addr. Set it where workers see another address, as in containers." name:"base-url" placeholder:"URL"`
	MchID       string        `help:"Merchant number of a new directory." name:"mchid" placeholder:"NUMBER"`
	AppID       string        `help:"Appid of a new directory." name:"appid" placeholder:"ID"`
	ServiceID   string        `help:"PayScore service of a new directory." name:"service-id" placeholder:"ID"`
	NotifyURL   string        `help:"URL to notify payments to; none by default. Orders may name another, and PUT /_sim/notifications changes it." name:"notify-url" placeholder:"URL"`
	ClockOffset time.Duration `help:"Shifts the clock by which orders are paid, such as --clock-offset=-24h: payments are then yesterday's, and their trade bill can be had. Signatures keep the real time." name:"clock-offset" default:"0s" placeholder:"DURATION"`
	Seed        uint64        `help:"Decides which calls suffer a fault, and which notifications get lost; every run with the same seed is alike." default:"0"`
}

func main() { config.Main("simulator", start) }

// start does what the command line asks for and returns the exit status.
func start(ctx context.Context, p config.Process) int {
	var c cli
	if _, status, ok := config.Parse(p, description, &c); !ok {
		return status
	}
	if err := run(ctx, c, p.Stdout); err != nil {
		p.Complain(err)
		return 1
	}
	return config.ExitOK
}

// shutdownTime is how long calls may take after a signal. Calls that hang on
// purpose end at once.
const shutdownTime = 5 * time.Second

// run serves until ctx is done.
func run(ctx context.Context, c cli, out io.Writer) error {
	// Absolute, so that the line it is printed in works in any terminal.
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("find --dir %q: %w", c.Dir, err)
	}
	sim, err := simulator.New(simulator.Options{
		MchID: c.MchID, AppID: c.AppID, ServiceID: c.ServiceID, Dir: dir, Seed: c.Seed, FreshKeys: true, NotifyURL: c.NotifyURL, Clock: clock(c.ClockOffset),
	})
	if err != nil {
		return err
	}
	defer sim.Close()
	listener, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("listen on --addr %q: %s", c.Addr, without(err))
	}
	baseURL := c.BaseURL
	if baseURL == "" {
		baseURL = urlOf(listener.Addr())
	}
	if err := sim.WriteMerchantDir(dir, baseURL); err != nil {
		return errors.Join(err, listener.Close())
	}
	// Calls live as long as ctx, so that a hanging one does not hold up the end.
	server := &http.Server{
		Handler:           sim.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	greet(out, urlOf(listener.Addr()), filepath.Join(dir, simulator.FileEnvironment), sim.Merchant().MchID)

	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		return errors.Join(fmt.Errorf("stop within %v: %w", shutdownTime, err), server.Close())
	}
	return nil
}

// clock is the machine's, shifted; nil where it is not.
func clock(offset time.Duration) func() time.Time {
	if offset == 0 {
		return nil
	}
	return func() time.Time { return time.Now().Add(offset) }
}

// without returns the reason of a failed listen without the address, which the
// error names already.
func without(err error) string {
	var address *net.AddrError
	var name *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &address):
		return address.Err
	case errors.As(err, &name):
		return name.Err
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}

// urlOf returns the URL for a client on this machine: a listener on all addresses
// has none to connect to.
func urlOf(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return "http://" + addr.String()
	}
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}

func greet(out io.Writer, url, env, mchID string) {
	fmt.Fprintf(out, `PayScore simulator listening on %[1]s
Settings for a worker: set -a; . %[2]s; set +a

Add an order that pays after two refusals:
  curl -sS %[1]s/_sim/orders -d '[{"out_order_no":"DEMO-1","total_amount":1250,"fate":"declines:2"}]'
Notify payments to a worker whose PUBLIC_ADDR is 127.0.0.1:8081, every fifth of them twice:
  curl -sS -X PUT %[1]s/_sim/notifications -d '{"url":"http://127.0.0.1:8081/notify/%[3]s","duplicate":0.2}'
See what was done to it:
  curl -sS %[1]s/_sim/report
`, url, env, mchID)
}
