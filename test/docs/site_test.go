package docs

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/pgtest"
	"payscore-collector/internal/testkit/redistest"
)

func TestMain(m *testing.M) {
	testkit.Parallel(4)
	status := pgtest.Main(m)
	if binaries.dir != "" {
		_ = os.RemoveAll(binaries.dir)
	}
	os.Exit(status)
}

// root returns the module's directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var binaries struct {
	sync.Mutex
	dir string
}

// commands returns a directory with the commands as they are released.
func commands(t *testing.T) string {
	t.Helper()
	binaries.Lock()
	defer binaries.Unlock()
	if binaries.dir != "" {
		return binaries.dir
	}
	dir, err := os.MkdirTemp("", "docs")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "build", "-o", dir+string(filepath.Separator),
		"payscore-collector/cmd/worker", "payscore-collector/cmd/enqueue", "payscore-collector/cmd/outcomes", "payscore-collector/cmd/simulator").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	binaries.dir = dir
	return dir
}

// site is what a document's reader has set up: Redis, a platform, and a worker.
type site struct {
	*testing.T
	bin    string
	env    []string // of the terminal, and no other variable
	mchid  string
	sim    string // the platform's URL
	api    string
	redis  string // its URL
	worker *testkit.Process
}

// newSite starts a redis-server, a simulator and a worker; env is added to the worker's
// environment. The times of a day are compressed.
func newSite(t *testing.T, env ...string) *site {
	t.Helper()
	redistest.NeedReal(t)
	s := &site{T: t, bin: commands(t)}
	addr := testkit.FreeAddr(t)
	s.sim = "http://" + addr
	dir := t.TempDir()
	sim := testkit.StartProcess(t, exec.Command(filepath.Join(s.bin, "simulator"), "--addr", addr, "--dir", dir))
	settings := filepath.Join(dir, simulator.FileEnvironment)
	s.eventually("the simulator", func() bool {
		resp, err := http.Get(s.sim + "/_sim/report")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err == nil
	}, sim)
	merchant, err := os.ReadFile(settings)
	if err != nil {
		t.Fatal(err)
	}
	admin := testkit.FreeAddr(t)
	s.api = "http://" + admin
	s.redis = redistest.StartReal(t).URL
	s.env = append(strings.Fields(string(merchant)), "PATH="+s.bin+":"+os.Getenv("PATH"), "HOME="+dir, "REDIS_URL="+s.redis)
	for _, v := range s.env {
		if mchid, ok := strings.CutPrefix(v, "WECHATPAY_MCHID="); ok {
			s.mchid = mchid
		}
	}
	worker := exec.Command(filepath.Join(s.bin, "worker"))
	worker.Env = append(append([]string{
		"ADMIN_ADDR=" + admin, "COLLECT_WINDOW=always", "CONFIRM_SCHEDULE=100ms,500ms,1s", "COLLECT_SCHEDULE=1200ms", "MIN_GAP=1100ms", "SWEEP_EVERY=500ms",
	}, s.env...), env...)
	s.worker = testkit.StartProcess(t, worker)
	s.eventually("the worker to be ready", func() bool {
		resp, err := http.Get(s.api + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, s.worker)
	return s
}

func (s *site) eventually(what string, cond func() bool, of *testkit.Process) {
	s.Helper()
	testkit.Eventually(s, what, cond, of.Log)
}

// token makes a token as the documents say, and returns it with a file for API_TOKENS_FILE.
func token(t *testing.T, role string) (token, file string) {
	t.Helper()
	out, err := exec.Command(filepath.Join(commands(t), "worker"), "token", "billing", "--role", role).Output()
	if err != nil {
		t.Fatal(err)
	}
	token, item, _ := strings.Cut(string(out), "\n")
	return token, testkit.WriteFile(t, "tokens.yaml", item)
}

// platform gives the platform an order.
func (s *site) platform(no string, fen int, fate string) {
	s.Helper()
	body, err := json.Marshal([]map[string]any{{"out_order_no": no, "total_amount": fen, "fate": fate}})
	if err != nil {
		s.Fatal(err)
	}
	resp, err := http.Post(s.sim+"/_sim/orders", "application/json", strings.NewReader(string(body)))
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode > 299 {
		s.Fatalf("the simulator does not take %s: %s", body, text)
	}
}

// get reads from the API.
func (s *site) get(path, token string) string {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.api+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return string(body)
}

// untilState waits until an order has a state.
func (s *site) untilState(no, state, token string) {
	s.Helper()
	s.eventually(fmt.Sprintf("%s to be %s", no, state), func() bool {
		var o struct{ State string }
		return json.Unmarshal([]byte(s.get("/v1/orders/"+s.mchid+"/"+no, token)), &o) == nil && o.State == state
	}, s.worker)
}

// ran is what a command has said.
type ran struct {
	status      int
	out, failed string // standard output, standard error
}

// run runs a command in a directory, with that environment and no other.
func run(t *testing.T, dir string, env []string, command ...string) ran {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	var failed strings.Builder
	cmd.Dir, cmd.Env, cmd.Stderr = dir, env, &failed
	out, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatalf("%q: %v", command, err)
	}
	return ran{cmd.ProcessState.ExitCode(), string(out), failed.String()}
}
