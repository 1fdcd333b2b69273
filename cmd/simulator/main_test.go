package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

func parse(t *testing.T, args ...string) (cli, error) {
	t.Helper()
	var c cli
	parser, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(args)
	return c, err
}

// tempDir is a directory whose name needs no quotes in a shell.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "simulator")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "D")
}

func TestCLI(t *testing.T) {
	c, err := parse(t, "--dir", "D", "--base-url", "http://simulator:8090", "--notify-url", "http://worker:8080/notify/1")
	if err != nil || c.NotifyURL != "http://worker:8080/notify/1" || c.Addr != "127.0.0.1:8090" || c.Dir != "D" || c.BaseURL != "http://simulator:8090" {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := parse(t); err == nil || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("without --dir: %v", err)
	}
}

func TestRun_ServesUntilTheSignal(t *testing.T) {
	dir := tempDir(t)
	ctx, signal := context.WithCancel(t.Context())
	defer signal()
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, cli{Addr: "127.0.0.1:0", Dir: dir}, writer)
		_ = writer.Close()
	}()
	output := bufio.NewReader(reader)
	first, err := output.ReadString('\n')
	if err != nil {
		t.Fatalf("no greeting: %v; run: %v", err, <-ended)
	}
	url := strings.TrimSpace(strings.TrimPrefix(first, "PayScore simulator listening on "))
	rest := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(output) // ends when run does
		rest <- string(text)
	}()

	resp, err := http.Post(url+"/_sim/orders", "application/json", strings.NewReader(`[{"out_order_no":"A1"}]`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("adding an order: %s", resp.Status)
	}
	env, err := os.ReadFile(filepath.Join(dir, "merchant.env"))
	if err != nil || !strings.Contains(string(env), "WECHATPAY_BASE_URL="+url+"\n") {
		t.Errorf("merchant.env does not name %s: %v\n%s", url, err, env)
	}

	// A call that waits for an hour must not hold up the end, and must not get
	// an answer by it.
	slow, err := http.NewRequest(http.MethodPut, url+"/_sim/faults", strings.NewReader(`{"latency":"1h"}`))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err = http.DefaultClient.Do(slow); err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	waiting := make(chan error, 1)
	go func() {
		resp, err := http.Get(url + "/v3/certificates")
		if err == nil {
			_ = resp.Body.Close()
		}
		waiting <- err
	}()
	waitForCall(t, url)

	signal()
	if err := <-waiting; err == nil {
		t.Error("the waiting call got a reply")
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("after the signal: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still running 10s after the signal")
	}
	if text := <-rest; strings.Count(text, "curl -sS ") != 3 || strings.Count(text, url) != 3 || !strings.Contains(text, filepath.Join(dir, "merchant.env")) {
		t.Errorf("the greeting lacks one of the three curl lines or merchant.env:\n%s", text)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		_ = conn.Close()
		t.Error("it still listens after its end")
	}
}

// waitForCall waits until the simulator counts its first call.
func waitForCall(t *testing.T, url string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		resp, err := http.Get(url + "/_sim/report")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"calls":1,`) {
			return
		}
	}
	t.Fatal("the call never arrived")
}

func TestRun_Refuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	tests := map[string]struct {
		c    cli
		want string
	}{
		"an address in use":          {cli{Addr: taken.Addr().String(), Dir: tempDir(t)}, `listen on --addr "` + taken.Addr().String()},
		"a directory with a blank":   {cli{Addr: "127.0.0.1:0", Dir: tempDir(t) + " x"}, "choose a path of letters"},
		"a base URL without a host":  {cli{Addr: "127.0.0.1:0", Dir: tempDir(t), BaseURL: "simulator"}, "base URL"},
		"a notify URL with a secret": {cli{Addr: "127.0.0.1:0", Dir: tempDir(t), NotifyURL: "http://u:pw@h/"}, "notify URL must hold nothing that is secret"},
		"a merchant number in words": {cli{Addr: "127.0.0.1:0", Dir: tempDir(t), MchID: "my shop"}, "WECHATPAY_MCHID"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), tt.c, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error that says %q", err, tt.want)
			}
		})
	}
}

func TestURLOf(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:80": "http://127.0.0.1:80",
		"0.0.0.0:80":   "http://127.0.0.1:80",
		"[::]:80":      "http://127.0.0.1:80",
		"[::1]:80":     "http://[::1]:80",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := urlOf(tcp); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
