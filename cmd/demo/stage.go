package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/worker"
	"payscore-collector/tasks"
)

// merchantDir is where the merchant's keys are, below the stage's directory.
const merchantDir = "merchant"

// stage is everything that the demo runs on, all of it in this process and on
// loopback ports that were free.
type stage struct {
	dir, logPath string
	logFile      *os.File
	redis        *miniredis.Miniredis
	rdb          redis.UniversalClient
	sim          *simulator.Simulator
	server       *http.Server
	cfg          config.Worker
	ledger       *ledger.Ledger
	producer     *tasks.Producer
	acts         []act // still to come
}

// newStage sets everything up; nothing is called yet.
func newStage(sc scenario, seed uint64) (_ *stage, err error) {
	s := &stage{acts: sc.acts}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(false))
		}
	}()
	if s.dir, err = os.MkdirTemp("", "payscore-demo-"); err != nil {
		return nil, fmt.Errorf("make a directory for keys and log: %w", err)
	}
	s.logPath = filepath.Join(s.dir, "worker.log")
	if s.logFile, err = os.OpenFile(s.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return nil, fmt.Errorf("make the worker's log: %w", err)
	}
	if s.redis, err = miniredis.Run(); err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	if s.sim, err = simulator.New(simulator.Options{Seed: seed}); err != nil {
		return nil, fmt.Errorf("set up the simulated platform: %w", err)
	}
	url, err := s.serve()
	if err != nil {
		return nil, err
	}
	if s.cfg, err = s.configure(url, sc.settings); err != nil {
		return nil, err
	}
	s.rdb = s.cfg.Redis.Open(redisconn.Pool{Name: "payscore-demo"})
	s.ledger = ledger.New(s.rdb, s.sim.Merchant().MchID)
	s.producer = tasks.NewProducer(s.rdb)
	return s, nil
}

// serve opens the simulated platform to the worker, on a port of its own.
func (s *stage) serve() (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for the simulated platform: %w", err)
	}
	s.server = &http.Server{
		Handler:           s.sim.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(s.logFile, "simulator: ", 0),
	}
	go func() { _ = s.server.Serve(l) }() // ends when close closes the server
	return "http://" + l.Addr().String(), nil
}

// configure takes the way of every worker: key files and an environment, judged
// by the same code.
func (s *stage) configure(platformURL string, settings map[string]string) (config.Worker, error) {
	dir := filepath.Join(s.dir, merchantDir)
	if err := s.sim.WriteMerchantDir(dir, platformURL); err != nil {
		return config.Worker{}, err
	}
	env, err := os.ReadFile(filepath.Join(dir, simulator.FileEnvironment))
	if err != nil {
		return config.Worker{}, fmt.Errorf("read the merchant's settings: %w", err)
	}
	vars := map[string]string{"REDIS_URL": "redis://" + s.redis.Addr() + "/0"}
	for line := range strings.Lines(string(env)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			vars[name] = value
		}
	}
	maps.Copy(vars, settings)
	var flags struct{ config.WorkerSettings }
	var complaint bytes.Buffer
	p := config.Process{
		Name: "worker", Stdout: io.Discard, Stderr: &complaint,
		LookupEnv: func(name string) (string, bool) { v, ok := vars[name]; return v, ok },
	}
	_, _, ok := config.Parse(p, "", &flags)
	if !ok {
		return config.Worker{}, errors.New(complaint.String())
	}
	cfg, err := flags.Load(p)
	if err != nil {
		return config.Worker{}, fmt.Errorf("the worker's settings are refused: %w", err)
	}
	return cfg, nil
}

// close ends what newStage began, and leaves nothing behind but, where asked
// for, the log.
func (s *stage) close(keepLog bool) error {
	var errs []error
	if s.rdb != nil {
		errs = append(errs, s.rdb.Close())
	}
	if s.server != nil {
		errs = append(errs, s.server.Close())
	}
	if s.sim != nil {
		s.sim.Close()
	}
	if s.redis != nil {
		s.redis.Close()
	}
	if s.logFile != nil {
		errs = append(errs, s.logFile.Close())
	}
	if s.dir != "" {
		gone := s.dir
		if keepLog {
			gone = filepath.Join(s.dir, merchantDir)
		}
		errs = append(errs, os.RemoveAll(gone))
	}
	return errors.Join(errs...)
}

// workerRun is the worker at work.
type workerRun struct {
	over chan struct{} // closed when it has ended
	stop func() error  // ends it, waits for that, and returns its error; can be called again
}

// startWorker runs the worker until stop. It outlives ctx, so that an
// interrupted demo ends it in order all the same.
func (s *stage) startWorker(ctx context.Context) *workerRun {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &workerRun{over: make(chan struct{})}
	var err error
	go func() {
		defer close(w.over)
		log, logErr := logging.New(s.cfg.Log.Level, s.cfg.Log.Format, s.logFile)
		if logErr != nil {
			err = logErr
			return
		}
		err = worker.Run(ctx, s.cfg, log)
	}()
	w.stop = sync.OnceValue(func() error {
		cancel()
		<-w.over
		return err
	})
	return w
}
