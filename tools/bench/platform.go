package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"payscore-collector/internal/simulator"
)

// The platform is the simulator in a process of its own, with a small key, that
// also notes when each call came.

const rolePlatform = "as-platform"

// platformKeyBits: a platform's signature costs a quarter of a merchant's then,
// and is no more trouble to verify.
const platformKeyBits = 1024

// servePlatform is the process: args are the directory for the merchant's files
// and the mchid. It prints its URL and serves until SIGTERM.
func servePlatform(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%s takes a directory and a mchid", rolePlatform)
	}
	sim, err := simulator.New(simulator.Options{MchID: args[1], KeyBits: platformKeyBits, FreshKeys: true})
	if err != nil {
		return err
	}
	defer sim.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	url := "http://" + l.Addr().String()
	if err := sim.WriteMerchantDir(args[0], url); err != nil {
		return err
	}
	decliner, err := newDecliner(args[0], sim.Merchant().PublicKeyID)
	if err != nil {
		return err
	}
	w := &witness{next: sim.Handler(), decliner: decliner, first: map[string]int64{}}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	server := &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	fmt.Println(url)
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}

// witness notes when calls come, and passes them on.
type witness struct {
	next     http.Handler
	decliner *decliner

	mu      sync.Mutex
	decline bool
	times   []int64          // of every call, Unix ns
	first   map[string]int64 // of each order's first call
}

// seen is what a witness tells.
type seen struct {
	Calls int              `json:"calls"`
	Times []int64          `json:"times,omitempty"`
	First map[string]int64 `json:"first,omitempty"`
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/v3/"):
		now := time.Now().UnixNano()
		no := r.URL.Query().Get("out_order_no")
		if no == "" {
			no = strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v3/payscore/serviceorder/"), "/pay")
		}
		w.mu.Lock()
		w.times = append(w.times, now)
		if _, ok := w.first[no]; !ok {
			w.first[no] = now
		}
		decline := w.decline
		w.mu.Unlock()
		if decline {
			w.decliner.serve(rw, r)
			return
		}
	case r.URL.Path == "/_bench/seen":
		w.mu.Lock()
		defer w.mu.Unlock()
		s := seen{Calls: len(w.times)}
		if r.URL.Query().Has("all") {
			s.Times, s.First = w.times, w.first
		}
		_ = json.NewEncoder(rw).Encode(s)
		return
	case r.URL.Path == "/_bench/reset":
		w.mu.Lock()
		w.times, w.first, w.decline = nil, map[string]int64{}, r.URL.Query().Has("decline")
		w.mu.Unlock()
		r.Method = http.MethodDelete
		r.URL.Path = "/_sim/orders"
	}
	w.next.ServeHTTP(rw, r)
}

// decliner declines every collect, for parts that want a platform that costs
// next to nothing: the reply is always the same, so that one signature a second
// does for all.
type decliner struct {
	key    *rsa.PrivateKey
	serial string

	mu    sync.Mutex
	at    string
	nonce string
	sig   string
}

const declined = `{"code":"TRADE_ERROR","message":"扣款失败"}`

func newDecliner(dir, serial string) (*decliner, error) {
	text, err := os.ReadFile(filepath.Join(dir, simulator.FilePlatformKey))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return &decliner{key: key.(*rsa.PrivateKey), serial: serial}, nil
}

func (d *decliner) serve(rw http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	at := strconv.FormatInt(time.Now().Unix(), 10)
	d.mu.Lock()
	if d.at != at {
		d.at, d.nonce = at, rand.Text()
		digest := sha256.Sum256([]byte(d.at + "\n" + d.nonce + "\n" + declined + "\n"))
		sig, err := rsa.SignPKCS1v15(rand.Reader, d.key, crypto.SHA256, digest[:])
		if err == nil {
			d.sig = base64.StdEncoding.EncodeToString(sig)
		}
	}
	nonce, sig := d.nonce, d.sig
	d.mu.Unlock()
	h := rw.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Wechatpay-Timestamp", at)
	h.Set("Wechatpay-Nonce", nonce)
	h.Set("Wechatpay-Signature", sig)
	h.Set("Wechatpay-Serial", d.serial)
	h.Set("Request-ID", "08F4B8C1B10610B0031897A2E95820E2D90B28B39E02-271316574")
	rw.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(rw, declined)
}

// merchant is a platform process and whom it serves.
type merchant struct {
	*child
	url, dir                string
	mchid, appid, serviceID string
	env                     []string
}

// startPlatform starts a platform for a merchant.
func (l *lab) startPlatform(ctx context.Context, mchid string) (merchant, error) {
	m := merchant{dir: filepath.Join(l.dir, "merchant-"+mchid+"-"+strconv.FormatInt(time.Now().UnixNano(), 36)), mchid: mchid}
	var err error
	if m.child, err = l.start(l.self, nil, rolePlatform, m.dir, mchid); err != nil {
		return m, err
	}
	if err := until(ctx, 20*time.Second, "the platform to listen", func() (bool, error) {
		return strings.HasSuffix(m.out.String(), "\n"), nil
	}); err != nil {
		m.kill()
		return m, err
	}
	m.url = strings.TrimSpace(m.out.String())
	text, err := os.ReadFile(filepath.Join(m.dir, simulator.FileEnvironment))
	if err != nil {
		m.kill()
		return m, err
	}
	m.env = strings.Fields(string(text))
	m.appid, m.serviceID = m.setting("PAYSCORE_APPID"), m.setting("PAYSCORE_SERVICE_ID")
	return m, nil
}

func (m merchant) setting(name string) string {
	for _, v := range m.env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// reset forgets orders and calls; with decline, every collect is declined from
// now on, of whatever order.
func (m merchant) reset(decline bool) error {
	path := "/_bench/reset"
	if decline {
		path += "?decline"
	}
	return m.ask(http.MethodPost, path, nil, nil)
}

// add makes the platform know orders.
func (m merchant) add(nos []string, fate simulator.Fate) error {
	orders := make([]simulator.Order, len(nos))
	for i, no := range nos {
		orders[i] = simulator.Order{OutOrderNo: no, Fate: fate}
	}
	return m.ask(http.MethodPost, "/_sim/orders", orders, nil)
}

func (m merchant) faults(f simulator.Faults) error {
	return m.ask(http.MethodPut, "/_sim/faults", f, nil)
}

func (m merchant) seen(all bool) (s seen, err error) {
	path := "/_bench/seen"
	if all {
		path += "?all"
	}
	return s, m.ask(http.MethodGet, path, nil, &s)
}

func (m merchant) report() (r simulator.Report, err error) {
	return r, m.ask(http.MethodGet, "/_sim/report", nil, &r)
}

func (m merchant) ask(method, path string, body, into any) error {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, m.url+path, &b)
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
