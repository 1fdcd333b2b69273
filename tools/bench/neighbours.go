package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"payscore-collector/internal/simulator"
)

// callsOf reads from a worker's metrics how many calls it has made.
func callsOf(admin string) (float64, error) {
	resp, err := http.Get(admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var sum float64
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok && strings.HasPrefix(name, "payscore_calls_total{") {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return sum, lines.Err()
}

const (
	neighbourRate    = 100
	neighbourSeconds = 10
)

// neighbours has two merchants in one worker: first both well, then one whose
// platform lets every call hang.
func neighbours(ctx context.Context, l *lab) error {
	var both [2]merchant
	for i, mchid := range []string{"1900000109", "1900000110"} {
		m, err := l.startPlatform(ctx, mchid)
		if err != nil {
			return err
		}
		defer m.kill()
		both[i] = m
	}
	file := filepath.Join(l.dir, "merchants.yaml")
	var text strings.Builder
	for _, m := range both {
		fmt.Fprintf(&text, "- mchid: %q\n  serial_no: %q\n  private_key_file: %q\n  public_key_id: %q\n  public_key_file: %q\n  base_url: %q\n  appid: %q\n  service_id: %q\n",
			m.mchid, m.setting("WECHATPAY_SERIAL_NO"), m.setting("WECHATPAY_PRIVATE_KEY_FILE"), m.setting("WECHATPAY_PUBLIC_KEY_ID"), m.setting("WECHATPAY_PUBLIC_KEY_FILE"), m.url, m.appid, m.serviceID)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return err
	}
	var rates [2]float64
	for i, hang := range []float64{0, 1} {
		if err := l.fresh(ctx); err != nil {
			return err
		}
		for j, m := range both {
			if err := m.reset(j == 0); err != nil {
				return err
			}
			nos := numbers("PAIR", neighbourRate*(neighbourSeconds+20))
			if err := m.add(nos, simulator.FatePays); err != nil {
				return err
			}
			if err := l.feed(ctx, m, nos); err != nil {
				return err
			}
		}
		if err := both[1].faults(simulator.Faults{Hang: hang}); err != nil {
			return err
		}
		w, err := l.start(l.dir+"/worker", []string{
			"REDIS_URL=" + l.url, "ADMIN_ADDR=", "COLLECT_WINDOW=always", fmt.Sprintf("COLLECT_RATE=%d", neighbourRate),
			"MERCHANTS_FILE=" + file, "SWEEP_EVERY=5s",
		})
		if err != nil {
			return err
		}
		sleep(ctx, 3*time.Second)
		first, err := both[0].seen(false)
		begun := time.Now()
		if err == nil {
			sleep(ctx, neighbourSeconds*time.Second)
			var last seen
			last, err = both[0].seen(false)
			rates[i] = float64(last.Calls-first.Calls) / time.Since(begun).Seconds()
		}
		w.kill()
		if err != nil {
			return err
		}
	}
	l.table.atLeast(0.9, "x", rates[1]/rates[0], "calls of a merchant whose neighbour's platform hangs, of those beside a healthy one",
		"%.0f/s, %.0f/s beside a healthy one", rates[1], rates[0])
	return nil
}
