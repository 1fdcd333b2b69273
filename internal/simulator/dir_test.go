package simulator

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const testURL = "http://127.0.0.1:8090"

func newSim(t *testing.T, opts Options) *Simulator {
	t.Helper()
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// safeDir is a directory whose name needs no quotes in a shell, unlike
// t.TempDir's for some test names.
func safeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "simulator")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "D")
}

func TestWriteMerchantDir_SetsUpAShell(t *testing.T) {
	dir := safeDir(t)
	s := newSim(t, Options{})
	if err := s.WriteMerchantDir(dir, testURL); err != nil {
		t.Fatal(err)
	}
	names := []string{"WECHATPAY_MCHID", "WECHATPAY_SERIAL_NO", "WECHATPAY_PRIVATE_KEY_FILE", "WECHATPAY_PUBLIC_KEY_ID", "WECHATPAY_PUBLIC_KEY_FILE", "WECHATPAY_API_V3_KEY", "WECHATPAY_BASE_URL", "PAYSCORE_APPID", "PAYSCORE_SERVICE_ID"}
	m := s.Merchant()
	want := []string{m.MchID, m.SerialNo, filepath.Join(dir, FilePrivateKey), m.PublicKeyID, filepath.Join(dir, FilePublicKey), m.APIv3Key, testURL, m.AppID, m.ServiceID}
	out, err := exec.Command("sh", "-c", `set -a; . "$0/merchant.env"; exec env`, dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if line := name + "=" + want[i] + "\n"; !strings.Contains(string(out), line) {
			t.Errorf("after sourcing merchant.env the environment lacks %s", line)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 5 {
		t.Errorf("there are %d files, want 5 and no left-overs", len(files))
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", f.Name(), info.Mode().Perm(), err)
		}
	}
	for name, first := range map[string]string{FilePrivateKey: "-----BEGIN PRIVATE KEY-----", FilePublicKey: "-----BEGIN PUBLIC KEY-----", FileCertificate: "-----BEGIN CERTIFICATE-----"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.HasPrefix(string(text), first) {
			t.Errorf("%s does not start %s: %v", name, first, err)
		}
	}
}

func TestNew_UsesADirectoryAgain(t *testing.T) {
	dir := safeDir(t)
	first := newSim(t, Options{Dir: dir, MchID: "1900000111", FreshKeys: true})
	if err := first.WriteMerchantDir(dir, testURL); err != nil {
		t.Fatal(err)
	}
	second := newSim(t, Options{Dir: dir, FreshKeys: true})
	a, b := first.Merchant(), second.Merchant()
	if !a.PrivateKey.Equal(b.PrivateKey) || !a.PublicKey.Equal(b.PublicKey) || !a.Certificate.Equal(b.Certificate) {
		t.Error("the keys are not the same")
	}
	if identityOf(a) != identityOf(b) {
		t.Errorf("got %s, want %s", identityOf(b), identityOf(a))
	}
	if err := second.WriteMerchantDir(dir, "http://127.0.0.1:9999"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, FileEnvironment))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "WECHATPAY_BASE_URL=http://127.0.0.1:9999\n") {
		t.Error("merchant.env does not have the new address")
	}
}

func identityOf(m Merchant) string {
	return fmt.Sprint(m.MchID, m.AppID, m.ServiceID, m.SerialNo, m.APIv3Key, m.PublicKeyID, m.CertificateSerialNo)
}

func TestMerchantDir_Refuses(t *testing.T) {
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ours := func(t *testing.T) string {
		t.Helper()
		dir := safeDir(t)
		if err := newSim(t, Options{}).WriteMerchantDir(dir, testURL); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	wantError := func(t *testing.T, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error that says %q", err, want)
		}
	}
	for _, name := range []string{"with space", "dollar$HOME", "quote'", "semi;colon", "back`tick", "tilde~", "new\nline", "star*", "amp&", "hash#"} {
		t.Run("a path that a shell would mangle: "+name, func(t *testing.T) {
			dir := filepath.Join(safeDir(t), name)
			wantError(t, newSim(t, Options{}).WriteMerchantDir(dir, testURL), "choose a path of letters")
			if exists(dir) {
				t.Error("the directory was created all the same")
			}
			_, err := New(Options{Dir: dir})
			wantError(t, err, "choose a path of letters")
		})
	}
	t.Run("a path in Chinese is fine", func(t *testing.T) {
		if err := newSim(t, Options{}).WriteMerchantDir(filepath.Join(safeDir(t), "商户"), testURL); err != nil {
			t.Error(err)
		}
	})
	for _, u := range []string{"", "127.0.0.1:80", "ftp://x", "http://", "http://x/$(id)", "http://x y"} {
		t.Run("a base URL such as "+u, func(t *testing.T) {
			wantError(t, newSim(t, Options{}).WriteMerchantDir(safeDir(t), u), "base URL")
		})
	}
	for _, name := range []string{FileEnvironment, FilePrivateKey, FilePublicKey} {
		t.Run("a real merchant's "+name, func(t *testing.T) {
			dir := safeDir(t)
			write(t, filepath.Join(dir, name), "precious")
			wantError(t, newSim(t, Options{}).WriteMerchantDir(dir, testURL), "may be a real merchant's")
			_, err := New(Options{Dir: dir})
			wantError(t, err, "may be a real merchant's")
			if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != "precious" {
				t.Errorf("the file was touched: %q, %v", text, err)
			}
		})
	}
	t.Run("another simulator's directory", func(t *testing.T) {
		wantError(t, newSim(t, Options{FreshKeys: true}).WriteMerchantDir(ours(t), testURL), "belongs to another identity")
	})
	t.Run("another merchant number", func(t *testing.T) {
		_, err := New(Options{Dir: ours(t), MchID: "1900000999"})
		wantError(t, err, "belongs to mchid "+DefaultMchID)
	})
	for name, damage := range map[string]struct {
		file, text, want string
	}{
		"no merchant.env":                  {FileEnvironment, "-", "merchant.env"},
		"no private key":                   {FilePrivateKey, "-", FilePrivateKey},
		"no certificate":                   {FileCertificate, "-", FileCertificate},
		"an empty private key":             {FilePrivateKey, "", "is not PEM of type PRIVATE KEY"},
		"a platform key that is no key":    {FilePlatformKey, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", FilePlatformKey},
		"a merchant.env without a setting": {FileEnvironment, "WECHATPAY_MCHID=1\n", "lacks WECHATPAY_SERIAL_NO"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := ours(t)
			if damage.text == "-" {
				if err := os.Remove(filepath.Join(dir, damage.file)); err != nil {
					t.Fatal(err)
				}
			} else {
				write(t, filepath.Join(dir, damage.file), damage.text)
			}
			_, err := New(Options{Dir: dir})
			wantError(t, err, damage.want)
			wantError(t, err, "cannot be used again")
		})
	}
	t.Run("a file in the directory's place", func(t *testing.T) {
		dir := safeDir(t)
		write(t, dir, "")
		wantError(t, newSim(t, Options{}).WriteMerchantDir(dir, testURL), "directory")
	})
	t.Run("a merchant number with a blank", func(t *testing.T) {
		wantError(t, newSim(t, Options{MchID: "19 00"}).WriteMerchantDir(safeDir(t), testURL), "WECHATPAY_MCHID")
	})
}
