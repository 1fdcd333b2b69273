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
	"slices"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/redisconn"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/worker"
	"payscore-collector/tasks"
)

// merchantDir is the directory of the merchant's keys within the stage's.
const merchantDir = "merchant"

// stage is everything that the demo runs on, all in this process and on free
// loopback ports.
type stage struct {
	dir, logPath string
	log          zerolog.Logger
	sim          *simulator.Simulator
	cfg          config.Worker
	ledger       *ledger.Ledger
	producer     *tasks.Producer
	acts         []act          // still to come
	closers      []func() error // what close calls, in reverse order
}

// newStage sets everything up; no call is made yet. Orders are paid by a clock, or by the
// machine's where it is nil.
func newStage(sc scenario, seed uint64, clock func() time.Time) (_ *stage, err error) {
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
	logFile, err := os.OpenFile(s.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the worker's log: %w", err)
	}
	s.closers = append(s.closers, logFile.Close)
	embedded, err := miniredis.Run()
	if err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	s.closers = append(s.closers, func() error { embedded.Close(); return nil })
	if s.sim, err = simulator.New(simulator.Options{Seed: seed, Clock: clock}); err != nil {
		return nil, fmt.Errorf("set up the simulated platform: %w", err)
	}
	s.closers = append(s.closers, func() error { s.sim.Close(); return nil })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the simulated platform: %w", err)
	}
	server := &http.Server{
		Handler:           s.sim.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(logFile, "simulator: ", 0),
	}
	s.closers = append(s.closers, server.Close)
	go func() { _ = server.Serve(listener) }() // ends when close closes the server

	if s.cfg, err = s.configure("redis://"+embedded.Addr()+"/0", "http://"+listener.Addr().String(), sc.settings); err != nil {
		return nil, err
	}
	if s.log, err = logging.New(s.cfg.Log.Level, s.cfg.Log.Format, logFile); err != nil {
		return nil, err
	}
	rdb := s.cfg.Redis.Open(redisconn.Pool{Name: "payscore-demo"})
	s.closers = append(s.closers, rdb.Close)
	s.ledger = ledger.New(rdb, s.sim.Merchant().MchID)
	s.producer = tasks.NewProducer(rdb)
	return s, nil
}

// configure reads key files and an environment with the code of every worker.
func (s *stage) configure(redisURL, platformURL string, settings map[string]string) (config.Worker, error) {
	dir := filepath.Join(s.dir, merchantDir)
	if err := s.sim.WriteMerchantDir(dir, platformURL); err != nil {
		return config.Worker{}, err
	}
	vars := map[string]string{"REDIS_URL": redisURL, config.EnvFile: filepath.Join(dir, simulator.FileEnvironment)}
	maps.Copy(vars, settings)
	var flags struct{ config.WorkerSettings }
	var complaint bytes.Buffer
	p := config.Process{
		Name: "worker", Stdout: io.Discard, Stderr: &complaint,
		LookupEnv: func(name string) (string, bool) { v, ok := vars[name]; return v, ok },
	}
	parsed, _, ok := config.Parse(p, "", &flags)
	if !ok {
		return config.Worker{}, errors.New(complaint.String())
	}
	cfg, err := flags.Load(parsed.Collector)
	if err != nil {
		return config.Worker{}, fmt.Errorf("refused settings of the worker: %w", err)
	}
	return cfg, nil
}

// close ends what newStage started, and leaves nothing behind except, on request,
// the log.
func (s *stage) close(keepLog bool) error {
	var errs []error
	for _, end := range slices.Backward(s.closers) {
		errs = append(errs, end())
	}
	gone := s.dir
	if keepLog {
		gone = filepath.Join(s.dir, merchantDir)
	}
	return errors.Join(append(errs, os.RemoveAll(gone))...)
}

// workerRun is a running worker.
type workerRun struct {
	over chan struct{} // closed when it has ended
	stop func() error  // stops it, waits, and returns its error; may be called again
}

// startWorker runs the worker until stop. It outlives ctx, so that an interrupted
// demo shuts it down gracefully as well.
func (s *stage) startWorker(ctx context.Context) *workerRun {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	over := make(chan struct{})
	var err error
	go func() {
		defer close(over)
		err = worker.Run(ctx, s.cfg, s.log)
	}()
	return &workerRun{over: over, stop: func() error {
		cancel()
		<-over
		return err
	}}
}
