package config

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
)

// readPrivateKey does what a setting that names the file does.
func readPrivateKey(path string) (key *rsa.PrivateKey, warning string, err error) {
	data, err := readFile(path)
	if err != nil {
		return nil, "", err
	}
	key, err = parsePrivateKey(Text{Secret: NewSecret(string(data)), path: path})
	return key, readableByAll(path), err
}

func readPublicKey(path string) (*rsa.PublicKey, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return parsePublicKey(Text{Secret: NewSecret(string(data)), path: path})
}

func TestReadPrivateKey(t *testing.T) {
	good := pemOf("PRIVATE KEY", pkcs8(merchantKey()))
	pkcs1 := x509.MarshalPKCS1PrivateKey(merchantKey())

	for _, tc := range []struct {
		name string
		data []byte
	}{
		{"PKCS#8, as WeChat Pay's tool makes it", good},
		{"PKCS#1", pemOf("RSA PRIVATE KEY", pkcs1)},
		{"PKCS#1 under the other label", pemOf("PRIVATE KEY", pkcs1)},
		{"CRLF line ends", bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n"))},
		{"a byte order mark", append([]byte("\xef\xbb\xbf"), good...)},
		{"base64 without its frame", []byte(base64.StdEncoding.EncodeToString(pkcs8(merchantKey())))},
		{"base64 of the PEM", []byte(base64.StdEncoding.EncodeToString(good))},
		{"base64 of the PEM, in lines", []byte(lines(base64.StdEncoding.EncodeToString(good), 76, "\n"))},
		{"literal \\n", bytes.ReplaceAll(good, []byte("\n"), []byte(`\n`))},
		{"literal \\r\\n", bytes.ReplaceAll(good, []byte("\n"), []byte(`\r\n`))},
		{"quotes around literal \\n", []byte(`"` + strings.ReplaceAll(string(good), "\n", `\n`) + `"`)},
		{"one line, with blanks", bytes.ReplaceAll(good, []byte("\n"), []byte(" "))},
		{"one line, with nothing", bytes.ReplaceAll(good, []byte("\n"), nil)},
		{"indented, as a YAML block", bytes.ReplaceAll(append([]byte("\n"), good...), []byte("\n"), []byte("\n    "))},
		{"UTF-16 of PowerShell", utf16LE(string(good))},
		{"UTF-16, big endian", swapped(utf16LE(string(good)))},
		{"attributes of a .p12 before the key", append([]byte("Bag Attributes\n    friendlyName: Tenpay\nKey Attributes: <No Attributes>\n"), good...)},
		{"the certificate before the key, on one line", bytes.ReplaceAll(append(pemOf("CERTIFICATE", certificate()), good...), []byte("\n"), []byte(" "))},
		{"the certificate before the key", append(pemOf("CERTIFICATE", certificate()), good...)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			key, warning, err := readPrivateKey(writeFile(t, t.TempDir(), "key.pem", tc.data))
			if err != nil || warning != "" || !key.Equal(merchantKey()) {
				t.Errorf("error %v, warning %q", err, warning)
			}
		})
	}

	encrypted := pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Bytes: []byte("not readable"),
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"},
	})
	for _, tc := range []struct {
		name string
		data []byte
		want string // FILE stands for the path
	}{
		{"empty", nil, "FILE, which is empty"},
		{"only a line end", []byte("\n"), "FILE, which is empty"},
		{"encrypted, PKCS#8", pemOf("ENCRYPTED PRIVATE KEY", []byte("x")), `encrypted with a passphrase: write it without one, with "openssl pkcs8 -topk8 -nocrypt -in FILE -out key.pem"`},
		{"encrypted, PKCS#1", encrypted, `encrypted with a passphrase: write it without one, with "openssl pkcs8 -topk8 -nocrypt -in FILE -out key.pem"`},
		{"a certificate", pemOf("CERTIFICATE", certificate()), "holds a certificate, where the merchant's private key is wanted: give apiclient_key.pem"},
		{"a public key", pemOf("PUBLIC KEY", publicDER(merchantKey().Public())), "holds a public key, where the merchant's private key is wanted"},
		{"an EC key in PKCS#8", pemOf("PRIVATE KEY", pkcs8(ecKey())), "holds a key that is not RSA"},
		{"an EC key", pemOf("EC PRIVATE KEY", []byte("x")), "holds an EC key"},
		{"an SSH key", pemOf("OPENSSH PRIVATE KEY", []byte("x")), `holds "OPENSSH PRIVATE KEY"`},
		{"damaged", pemOf("PRIVATE KEY", pkcs8(merchantKey())[:500]), "holds a damaged private key"},
		{"too short", pemOf("PRIVATE KEY", pkcs8(platformKey())), "holds an RSA key of 1024 bits: WeChat Pay's merchant keys have 2048"},
		{"DER", pkcs8(merchantKey()), `holds the key in DER, where PEM is wanted: convert it with "openssl pkey -inform DER -in FILE -out key.pem"`},
		{"a certificate in DER", certificate(), "holds a certificate, where the merchant's private key is wanted"},
		{"a .p12 archive", []byte{0x30, 0x82, 0x0a, 0x01, 0x02, 0x01, 0x03}, `"openssl pkcs12 -in FILE -nocerts -nodes -out key.pem"`},
		{"base64 of a piece of a key", []byte("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n"), "is not PEM (-----BEGIN PRIVATE KEY-----)"},
		{"text that begins like DER", []byte("0123456789"), "is not PEM"},
		{"cut off", good[:500], "has the line -----BEGIN PRIVATE KEY----- and no -----END PRIVATE KEY-----: it was cut off"},
		{"altered", bytes.Replace(good, []byte("AA"), []byte("A*"), 1), "has the line -----BEGIN PRIVATE KEY-----, but what follows is not base64"},
		{"a frame that is not whole", bytes.Replace(good, []byte("KEY-----"), []byte("KEY"), 1), "begins with -----BEGIN, but that line is not whole"},
		{"far too large", bytes.Repeat([]byte("x"), maxFile+1), "far too large for a key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := writeFile(t, t.TempDir(), "f", tc.data)
			_, _, err := readPrivateKey(path)
			wantSentence(t, err, path, tc.want)
		})
	}

	t.Run("missing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "none")
		_, _, err := readPrivateKey(path)
		wantSentence(t, err, path, "FILE, which does not exist")
	})
	t.Run("a directory", func(t *testing.T) {
		path := t.TempDir()
		_, _, err := readPrivateKey(path)
		wantSentence(t, err, path, "FILE, which is a directory")
	})
	t.Run("a path through a file", func(t *testing.T) {
		path := filepath.Join(writeFile(t, t.TempDir(), "f", good), "key.pem")
		_, _, err := readPrivateKey(path)
		wantSentence(t, err, path, "FILE, which cannot be opened: not a directory")
	})
	t.Run("not readable", func(t *testing.T) {
		path := writeFile(t, t.TempDir(), "f", good)
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		if f, err := os.Open(path); err == nil {
			f.Close()
			t.Skip("this user may read everything")
		}
		_, _, err := readPrivateKey(path)
		wantSentence(t, err, path, "FILE, which this user may not read")
	})
	t.Run("readable by every user is a warning", func(t *testing.T) {
		path := writeFile(t, t.TempDir(), "f", good)
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		key, warning, err := readPrivateKey(path)
		if err != nil || key == nil || !strings.Contains(warning, "chmod 600") || !strings.Contains(warning, path) {
			t.Errorf("error %v, warning %q", err, warning)
		}
	})
}

func TestReadPublicKey(t *testing.T) {
	pub := &platformKey().PublicKey
	for _, tc := range []struct {
		name string
		data []byte
	}{
		{"PKIX, as WeChat Pay gives it", pemOf("PUBLIC KEY", publicDER(pub))},
		{"PKCS#1", pemOf("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(pub))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			key, err := readPublicKey(writeFile(t, t.TempDir(), "f", tc.data))
			if err != nil || !key.Equal(pub) {
				t.Errorf("error %v", err)
			}
		})
	}

	tiny := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 511, 1), E: 65537}
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "FILE, which is empty"},
		{"the private key", pemOf("PRIVATE KEY", pkcs8(merchantKey())), "holds a private key, where WeChat Pay's public key is wanted: give pub_key.pem"},
		{"a private key, encrypted", pemOf("ENCRYPTED PRIVATE KEY", []byte("x")), "holds a private key"},
		{"a platform certificate", pemOf("CERTIFICATE", certificate()), "or set the APIv3 key instead"},
		{"something else", pemOf("X509 CRL", []byte("x")), `holds "X509 CRL"`},
		{"an EC key", pemOf("PUBLIC KEY", publicDER(ecKey().Public())), "holds a key that is not RSA"},
		{"damaged", pemOf("PUBLIC KEY", []byte("x")), "holds a damaged public key"},
		{"too short", pemOf("PUBLIC KEY", publicDER(tiny)), "holds an RSA key of 512 bits"},
		{"DER", publicDER(pub), `convert it with "openssl pkey -pubin -inform DER -in FILE -out pub_key.pem"`},
		{"a private key in DER", pkcs8(merchantKey()), "holds a private key"},
		{"a certificate in DER", certificate(), "holds a certificate"},
		{"binary", []byte{0x30, 0x01, 0xff}, "is binary, where PEM is wanted"},
		{"text", []byte("PUB_KEY_ID_01"), "is not PEM (-----BEGIN PUBLIC KEY-----)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := writeFile(t, t.TempDir(), "f", tc.data)
			_, err := readPublicKey(path)
			wantSentence(t, err, path, tc.want)
		})
	}
}

// lines breaks s after every n bytes.
func lines(s string, n int, end string) string {
	var b strings.Builder
	for len(s) > n {
		b.WriteString(s[:n] + end)
		s = s[n:]
	}
	return b.String() + s + end
}

func utf16LE(s string) []byte {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func swapped(b []byte) []byte {
	for i := 0; i+1 < len(b); i += 2 {
		b[i], b[i+1] = b[i+1], b[i]
	}
	return b
}

// wantSentence checks an error that continues a setting's name.
func wantSentence(t *testing.T, err error, path, want string) {
	t.Helper()
	want = strings.ReplaceAll(strings.ReplaceAll(want, "FILE,", strconv.Quote(path)+","), "FILE", path)
	if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("names %q, ", path)) || !strings.Contains(err.Error(), want) {
		t.Errorf("error is\n\t%v\nwant in it\n\t%s", err, want)
	}
}

// Any text of a key's setting is read without a panic, and what is wrong with it
// is said without its words.
func FuzzParsePrivateKey(f *testing.F) {
	good := pemOf("PRIVATE KEY", pkcs8(merchantKey()))
	for _, seed := range [][]byte{
		good, good[:300], []byte(base64.StdEncoding.EncodeToString(good)), utf16LE(string(good)), []byte(`"-----BEGIN`), []byte("/merchant/apiclient_key.pem"),
		[]byte("-----BEGIN A-----x-----END A-----"), []byte(testAPIKey),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		text := string(keyText(data))
		if again := string(keyText([]byte(text))); strings.Contains(text, pemBegin) && strings.TrimSpace(again) != strings.TrimSpace(text) {
			t.Errorf("%q is read as %q, and that as %q", data, text, again)
		}
		_, err := parsePrivateKey(Text{Secret: NewSecret(string(data))})
		if err == nil {
			return
		}
		for _, piece := range regexp.MustCompile(`[0-9A-Za-z+/]{20,}`).FindAllString(string(data), -1) {
			if strings.Contains(err.Error(), piece) {
				t.Errorf("%q of %q is in the error: %v", piece, data, err)
			}
		}
	})
}
