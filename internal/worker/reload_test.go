package worker_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// merchantsFile is a MERCHANTS_FILE in a directory that is mounted as Kubernetes does it:
// the file and the keys are links, and a change swaps the directory that they lead to.
type merchantsFile struct {
	t        *testing.T
	dir      string
	versions int
	keys     map[string]string // content by name
}

// write makes the file's content, with the keys, the current one at once.
func (f *merchantsFile) write(text string) {
	f.t.Helper()
	f.versions++
	version := filepath.Join(f.dir, fmt.Sprintf("..version-%d", f.versions))
	if err := os.Mkdir(version, 0o700); err != nil {
		f.t.Fatal(err)
	}
	files := map[string]string{"merchants.yaml": text}
	for name, content := range f.keys {
		files[name] = content
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(version, name), []byte(content), 0o600); err != nil {
			f.t.Fatal(err)
		}
		if link := filepath.Join(f.dir, name); f.versions == 1 {
			if err := os.Symlink(filepath.Join("..data", name), link); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	next := filepath.Join(f.dir, "..data_tmp")
	if err := os.Symlink(filepath.Base(version), next); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(f.dir, "..data")); err != nil {
		f.t.Fatal(err)
	}
}

// item is the merchant of a platform in the file.
func item(sim *simulator.Simulator, url, more string) string {
	m := sim.Merchant()
	return fmt.Sprintf("- {mchid: %q, serial_no: %q, private_key_file: %s.pem, public_key_id: %q, public_key_file: %s.pub, appid: %q, service_id: %q, base_url: %q%s}\n",
		m.MchID, m.SerialNo, m.MchID, m.PublicKeyID, m.MchID, m.AppID, m.ServiceID, url, more)
}

func (f *merchantsFile) addKeys(sim *simulator.Simulator) {
	f.t.Helper()
	m := sim.Merchant()
	private, err := x509.MarshalPKCS8PrivateKey(m.PrivateKey)
	if err != nil {
		f.t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(m.PublicKey)
	if err != nil {
		f.t.Fatal(err)
	}
	f.keys[m.MchID+".pem"] = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	f.keys[m.MchID+".pub"] = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
}

// workerSettings are those of a worker with that file of merchants, and more variables. What
// is missing without the file is no problem.
func workerSettings(t *testing.T, path string, more ...string) config.Worker {
	t.Helper()
	environment := map[string]string{"REDIS_URL": "redis://127.0.0.1:1/0"}
	if path != "" {
		environment["MERCHANTS_FILE"] = path
	}
	for _, variable := range more {
		name, value, _ := strings.Cut(variable, "=")
		environment[name] = value
	}
	var cli struct{ config.WorkerSettings }
	parsed, _, ok := config.Parse(config.Process{
		Name: "worker", Stdout: io.Discard, Stderr: io.Discard,
		LookupEnv: func(name string) (string, bool) { value, ok := environment[name]; return value, ok },
	}, "", &cli)
	if !ok {
		t.Fatal("the settings are refused")
	}
	cfg, err := cli.Load(parsed.Collector)
	if err != nil && path != "" {
		t.Fatal(err)
	}
	return cfg
}

// Merchants are added, changed and taken out while the worker runs. A file with a fault
// changes nothing, and the log says where the fault is.
func TestMerchantsFileIsReadAgain(t *testing.T) {
	t.Parallel()
	r := workertest.New(t, onAdminAddr(t))
	r.Listen()
	second, err := simulator.New(simulator.Options{MchID: "1900000778", FreshKeys: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)
	server := httptest.NewServer(second.Handler())
	t.Cleanup(server.Close)
	ledgerOf := ledger.New(r.Redis.Client, "1900000778")

	f := &merchantsFile{t: t, dir: t.TempDir(), keys: map[string]string{}}
	f.addKeys(r.Sim)
	f.addKeys(second)
	first, added := item(r.Sim, r.Platform.URL, ""), item(second, server.URL, "")
	f.write(first)
	path := filepath.Join(f.dir, "merchants.yaml")
	settings := workerSettings(t, path)
	r.Cfg.Merchants, r.Cfg.MerchantsFile = settings.Merchants, settings.MerchantsFile
	r.Work()

	taken := 0 // lines of the log on the file
	next := func(event string) testkit.Record {
		t.Helper()
		var lines []testkit.Record
		r.Eventually(event, func() bool {
			lines = append(r.Logs.Events("merchants_changed"), r.Logs.Events("merchants_file_refused")...)
			return len(lines) > taken && r.Logs.HasEvent(event)
		})
		if len(lines) != taken+1 {
			t.Fatalf("%d lines on the file, want %d", len(lines), taken+1)
		}
		taken++
		all := r.Logs.Events(event)
		return all[len(all)-1]
	}
	changed := func(want string) {
		t.Helper()
		line := next("merchants_changed")
		if got := fmt.Sprint(line["added"], line["changed"], line["removed"]); got != want {
			t.Errorf("added, changed, removed: %s, want %s", got, want)
		}
	}
	enqueue := func(sim *simulator.Simulator, no string) {
		t.Helper()
		if err := sim.AddOrders(simulator.Order{OutOrderNo: no, Fate: "pays"}); err != nil {
			t.Fatal(err)
		}
		m := sim.Merchant()
		o := tasks.Order{Payload: tasks.Payload{MchID: m.MchID, OutOrderNo: no, AppID: m.AppID, ServiceID: m.ServiceID}}
		if res, err := r.Producer.Enqueue(t.Context(), o); err != nil || res.Status != tasks.Accepted {
			t.Fatal(res, err)
		}
	}
	paid := func(l *ledger.Ledger, no string) {
		t.Helper()
		r.Eventually(no+" to be paid", func() bool {
			o, err := l.Get(t.Context(), no)
			return err == nil && o.State == tasks.Paid
		})
	}
	enqueue(r.Sim, "ONE")
	paid(r.Ledger, "ONE")
	notified := func() int {
		return workertest.PostTo(strings.Replace(r.NotifyURLs()[0], r.Sim.Merchant().MchID, "1900000778", 1), simulator.RawNotification{Header: http.Header{}})
	}
	if status := notified(); status != http.StatusNotFound {
		t.Errorf("a notification of an unknown merchant gets %d", status)
	}

	enqueue(second, "EARLY") // nobody serves its merchant yet
	f.write(first + added)
	changed("[1900000778] [] []")
	paid(ledgerOf, "EARLY")
	if status := notified(); status == http.StatusNotFound {
		t.Error("the notifications of the new merchant are those of an unknown one")
	}

	// A file with a fault changes nothing, even if other entries are right.
	f.write(strings.Replace(added, "1900000778.pem", "nowhere.pem", 1))
	fault := fmt.Sprint(next("merchants_file_refused")["message"])
	for _, want := range []string{"line 1", "private_key_file", "nowhere.pem", "does not exist: check the path"} {
		if !strings.Contains(fault, want) {
			t.Errorf("the fault lacks %q: %s", want, fault)
		}
	}
	r.Eventually("the metric", func() bool { return gauge(t, r, "payscore_merchants_file_faulty") == 1 })
	enqueue(r.Sim, "TWO")
	paid(r.Ledger, "TWO")

	// Taken out: its order stays open in the ledger, and is collected when it is back.
	f.write(first)
	changed("[] [] [1900000778]")
	enqueue(second, "WAITS")
	r.Eventually("its metrics to be gone", func() bool {
		return gauge(t, r, "payscore_merchants") == 1 && !strings.Contains(admin(t, r, "/metrics"), "1900000778")
	})
	if workers, now, err := ledgerOf.Workers(t.Context()); err != nil || len(workers) != 1 || workers[0].Alive(now) {
		t.Errorf("workers of the merchant that was taken out: %+v %v", workers, err)
	}
	if status := notified(); status != http.StatusNotFound {
		t.Errorf("its notifications get %d", status)
	}
	if o, err := ledgerOf.Get(t.Context(), "WAITS"); err != nil || !o.State.Open() || o.CollectCalls > 0 {
		t.Errorf("%+v %v", o, err)
	}

	// It comes back with keys that WeChat Pay refuses, which only the next key mends: the
	// file itself stays as it is.
	right := f.keys["1900000778.pem"]
	f.keys["1900000778.pem"] = f.keys[r.Sim.Merchant().MchID+".pem"]
	f.write(first + added)
	changed("[1900000778] [] []")
	r.Eventually("its calls to be stopped", func() bool {
		h, err := ledgerOf.Holds(t.Context())
		return err == nil && h.Merchant.Kind == ledger.HoldFault
	})
	f.keys["1900000778.pem"] = right
	f.write(first + added)
	changed("[] [1900000778] []")
	paid(ledgerOf, "WAITS")
	r.FaultsExpected = true
	r.Audit()
}

// SIGHUP reads a file that looks as before. The test sends it to its own process, and so
// does not run beside others.
func TestSIGHUPReadsTheMerchantsFile(t *testing.T) {
	r := workertest.New(t)
	f := &merchantsFile{t: t, dir: t.TempDir(), keys: map[string]string{}}
	f.addKeys(r.Sim)
	f.write(item(r.Sim, r.Platform.URL, ""))
	settings := workerSettings(t, filepath.Join(f.dir, "merchants.yaml"))
	r.Cfg.Merchants, r.Cfg.MerchantsFile = settings.Merchants, settings.MerchantsFile
	r.Work()
	early := make(chan os.Signal, 1) // before the worker waits for SIGHUP, it would end this process
	signal.Notify(early, syscall.SIGHUP)
	defer signal.Stop(early)
	r.Eventually("the file to be read again", func() bool {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		return r.Logs.HasEvent("merchants_changed")
	})
	line := r.Logs.Events("merchants_changed")[0]
	if got := fmt.Sprint(line["added"], line["changed"], line["removed"]); got != "[] [] []" {
		t.Errorf("added, changed, removed: %s, want nothing", got)
	}
}
