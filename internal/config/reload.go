package config

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"slices"
)

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
	if file, err := os.Open(f.Path()); err == nil {
		_, _ = io.Copy(sum, io.LimitReader(file, maxFile+1))
		_ = file.Close()
	}
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
