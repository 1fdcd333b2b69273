package config

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"slices"
)

// SchedulesFile reads SCHEDULES_FILE again while the worker runs.
type SchedulesFile struct{ flags SchedulesFlags }

// Load reads the file. The error is a Problems.
func (f *SchedulesFile) Load() (Schedules, error) {
	c := &Collector{}
	s := f.flags.Resolve(c)
	return s, c.Err()
}

// State changes when the content of the file changes.
func (f *SchedulesFile) State() string { return contentState(f.flags.SchedulesFile) }

// contentState is a sum of the content of a file.
func contentState(path string) string {
	sum := sha256.New()
	if file, err := os.Open(path); err == nil {
		_, _ = io.Copy(sum, io.LimitReader(file, maxFile+1))
		_ = file.Close()
	}
	return string(sum.Sum(nil))
}

// MerchantsFile reads MERCHANTS_FILE again while the worker runs. It is not safe for
// concurrent use.
type MerchantsFile struct {
	flags    MerchantFlags
	order    Order
	notified bool     // there are notifications
	files    []string // the files with keys that it named when it was read last
}

// Path is the path of the file.
func (f *MerchantsFile) Path() string { return f.flags.MerchantsFile }

// Load reads the file and the files with keys that it names. The error is a Problems.
func (f *MerchantsFile) Load() (merchants []Merchant, warnings []string, err error) {
	c := &Collector{}
	merchants = f.flags.Resolve(c, f.order)
	f.files = c.files
	if f.notified {
		warnOfNotifications(merchants, c)
	}
	return merchants, c.Warnings(), c.Err()
}

// State changes when the file changes, or one of the files with keys that it named when it
// was read last: their content in the first case, and in the other what the file system
// says of it. Links are followed, also when they lead elsewhere than before, as those of a
// volume of Kubernetes do after a change.
func (f *MerchantsFile) State() string {
	sum := sha256.New()
	fmt.Fprintln(sum, contentState(f.Path()))
	for _, path := range slices.Compact(slices.Sorted(slices.Values(f.files))) {
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintln(sum, path, "missing")
			continue
		}
		fmt.Fprintln(sum, path, info.Size(), info.ModTime().UnixNano())
	}
	return string(sum.Sum(nil))
}
