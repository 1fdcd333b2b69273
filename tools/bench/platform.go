package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"payscore-collector/internal/signer"
	"payscore-collector/internal/simulator"
	"payscore-collector/tasks"
)

// The platform is the simulator in a process of its own, with a small key. It
// also records when each call arrived.

const rolePlatform = "as-platform"

// platformKeyBits makes a platform's signature cost a quarter of a merchant's;
// verifying it costs no more. Where the programs are built with OpenSSL, the platform
// signs with it: it shares the processors with what is measured, as the real one does not.
const platformKeyBits = 1024

// servePlatform is the main function of that process. It writes the merchant's
// files into dir, and serves until ctx is done.
func servePlatform(ctx context.Context, dir string) error {
	r := &recorder{}
	sim, err := simulator.New(simulator.Options{KeyBits: platformKeyBits, FreshKeys: true, Watch: r.record,
		Signer: func(key *rsa.PrivateKey) (crypto.Signer, error) { return signer.New(signer.Auto, key) }})
	if err != nil {
		return err
	}
	defer sim.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_bench/calls", r.serve)
	mux.HandleFunc("DELETE /_bench/calls", r.reset)
	mux.Handle("/", sim.Handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	if err := sim.WriteMerchantDir(dir, "http://"+l.Addr().String()); err != nil {
		return err
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}

// recorder keeps the platform's calls.
type recorder struct {
	mu    sync.Mutex
	calls []simulator.Seen
}

func (r *recorder) record(s simulator.Seen) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, s)
}

func (r *recorder) reset(http.ResponseWriter, *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = nil
}

// serve answers with the number of calls, or with ?all with each of them.
func (r *recorder) serve(rw http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.URL.Query().Has("all") {
		_ = json.NewEncoder(rw).Encode(r.calls)
	} else {
		_ = json.NewEncoder(rw).Encode(len(r.calls))
	}
}

// platform is a platform process. Its merchant is the simulator's default one.
type platform struct {
	*process
	url      string
	settings []string // the merchant's, for the environment of a worker
}

// startPlatform starts a platform and waits until it listens: that is when it
// writes the merchant's settings.
func (e *env) startPlatform(ctx context.Context) (p platform, err error) {
	dir := filepath.Join(e.dir, "merchant-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	if p.process, err = e.start(e.bench, nil, rolePlatform, dir); err != nil {
		return p, err
	}
	if err = until(ctx, 20*time.Second, "the platform to listen", func() (bool, error) {
		text, err := os.ReadFile(filepath.Join(dir, simulator.FileEnvironment))
		p.settings = strings.Fields(string(text))
		return err == nil, nil
	}); err != nil {
		p.kill()
		return p, err
	}
	for _, v := range p.settings {
		if value, ok := strings.CutPrefix(v, "WECHATPAY_BASE_URL="); ok {
			p.url = value
		}
	}
	return p, nil
}

// order is an order of the merchant as billing enqueues it.
func order(no string) tasks.Order {
	return tasks.Order{Payload: tasks.Payload{
		MchID: simulator.DefaultMchID, OutOrderNo: no, AppID: simulator.DefaultAppID, ServiceID: simulator.DefaultServiceID,
	}}
}

// reset forgets the platform's orders and calls, and adds new orders.
func (p platform) reset(nos []string, fate simulator.Fate) error {
	orders := make([]simulator.Order, len(nos))
	for i, no := range nos {
		orders[i] = simulator.Order{OutOrderNo: no, Fate: fate}
	}
	for _, req := range []struct {
		method, path string
		body         any
	}{{http.MethodDelete, "/_sim/orders", nil}, {http.MethodDelete, "/_bench/calls", nil}, {http.MethodPost, "/_sim/orders", orders}} {
		if err := p.request(req.method, req.path, req.body, nil); err != nil {
			return err
		}
	}
	return nil
}

func (p platform) faults(f simulator.Faults) error {
	return p.request(http.MethodPut, "/_sim/faults", f, nil)
}

// countCalls returns how many calls are done since the last reset.
func (p platform) countCalls() (n int, err error) {
	return n, p.request(http.MethodGet, "/_bench/calls", nil, &n)
}

func (p platform) calls() (all []simulator.Seen, err error) {
	return all, p.request(http.MethodGet, "/_bench/calls?all", nil, &all)
}

func (p platform) request(method, path string, body, into any) error {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, p.url+path, &b)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode > 299 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// numbers returns n order numbers of a usual length.
func numbers(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s2026%012d", prefix, i)
	}
	return out
}
