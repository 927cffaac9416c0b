package transport_test

import (
	"encoding/binary"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/mqtt311/mqtt311/internal/testcert"
	"github.com/mqtt311/mqtt311/transport"
)

// All certificates in a file are trusted, in the forms that editors and scripts produce.
func TestBundles(t *testing.T) {
	ca, other := testcert.Authority(t), testcert.Authority(t)
	a, b := ca.CertPEM(), other.CertPEM()
	glue := func(parts ...string) string { return strings.Join(parts, "") }
	for name, bundle := range map[string]string{
		"plain":             a + b,
		"a byte order mark": "\ufeff" + a + b,
		"marks within":      "\ufeff" + a + "\ufeff" + b,
		"glued":             glue(strings.TrimSpace(a), b),
		"glued with blanks": glue(strings.TrimSpace(a), " \t", b),
		"one line":          strings.ReplaceAll(a+b, "\n", ""),
		"indented":          "  " + strings.ReplaceAll(a+b, "\n", "\n  "),
		"carriage returns":  strings.ReplaceAll(a+b, "\n", "\r\n"),
		"old Mac":           strings.ReplaceAll(a+b, "\n", "\r"),
		"comments":          "# one: -\n" + a + "Subject: CN=x\n\n" + b + "# end\n",
		"no last line end":  strings.TrimSpace(a + b),
		"X509":              strings.ReplaceAll(a+b, " CERTIFICATE", " X509 CERTIFICATE"),
		"UTF-16":            utf16Of(binary.LittleEndian, a+b),
		"UTF-16, the other": utf16Of(binary.BigEndian, a+b),
	} {
		path := filepath.Join(t.TempDir(), "ca.pem")
		require.NoError(t, os.WriteFile(path, []byte(bundle), 0o600))
		config, err := (&transport.TLSOptions{ServerCert: transport.File(path)}).Config("localhost", nil)
		require.NoError(t, err, name)
		want := ca.Pool()
		want.AppendCertsFromPEM([]byte(b))
		require.True(t, want.Equal(config.RootCAs), name)
	}
}

func utf16Of(order binary.AppendByteOrder, text string) string {
	out := order.AppendUint16(nil, 0xfeff)
	for _, u := range utf16.Encode([]rune(text)) {
		out = order.AppendUint16(out, u)
	}
	return string(out)
}

// The client's certificate and key files may have the same forms.
func TestClientFilesWithMarks(t *testing.T) {
	ca := testcert.Authority(t)
	client := ca.Issue(t, testcert.ForClients())
	for _, change := range []func(string) string{
		func(s string) string { return "\ufeff" + s },
		func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
		func(s string) string { return "\n  " + strings.ReplaceAll(s, "\n", "\n  ") },
	} {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
		require.NoError(t, os.WriteFile(cert, []byte(change(client.CertPEM())), 0o600))
		require.NoError(t, os.WriteFile(key, []byte(change(client.KeyPEM(t))), 0o600))
		_, err := (&transport.TLSOptions{ClientCert: transport.File(cert), ClientKey: transport.File(key)}).Config("localhost", nil)
		require.NoError(t, err)
	}
}

// A file written by openssl x509 -trustout is trusted, unless it says that it is not trusted for
// servers.
func TestTrustedCertificates(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed: apt-get install openssl")
	}
	ca := testcert.Authority(t)
	file, _ := ca.Write(t, t.TempDir(), "ca")
	for args, trusted := range map[string]bool{
		"":                                    true,
		"-addtrust serverAuth":                true,
		"-addtrust anyExtendedKeyUsage":       true,
		"-addtrust clientAuth":                false,
		"-addreject serverAuth":               false,
		"-addreject clientAuth":               true,
		"-setalias name":                      true,
		"-addtrust serverAuth -setalias name": true,
	} {
		out, err := exec.Command(openssl, append([]string{"x509", "-in", file, "-trustout"}, strings.Fields(args)...)...).Output()
		require.NoError(t, err, args)
		block, _ := pem.Decode(out)
		require.Equal(t, "TRUSTED CERTIFICATE", block.Type)
		config, err := (&transport.TLSOptions{ServerCert: transport.File(out)}).Config("localhost", nil)
		if !trusted {
			require.ErrorContains(t, err, "block 1: it says that it is not trusted for servers", args)
			continue
		}
		require.NoError(t, err, args)
		require.True(t, ca.Pool().Equal(config.RootCAs), args)
	}
}
