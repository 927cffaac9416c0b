package transport

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
)

// A File is the path of a PEM file, or PEM data itself: it is taken as data if it contains a
// newline or starts with -----BEGIN. Its String method never returns the data.
type File string

// maxFile is far more than any bundle needs: that of a whole system has 250 KB.
const maxFile = 4 << 20

func (f File) inline() bool {
	s := string(f)
	return strings.ContainsAny(s, "\r\n") || strings.HasPrefix(s, "-----BEGIN")
}

// String returns the quoted path, or a note that the data is inline.
func (f File) String() string {
	switch {
	case f == "":
		return ""
	case f.inline():
		return "[inline PEM]"
	case f.der():
		return "[inline, not PEM]"
	}
	return strconv.Quote(string(f))
}

// GoString returns the same as String.
func (f File) GoString() string { return f.String() }

// LogValue returns the same as String.
func (f File) LogValue() slog.Value { return slog.StringValue(f.String()) }

// MarshalText returns the same as String, so that JSON never contains a key.
func (f File) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// der reports whether f looks like the body of a PEM file without its first and last line. It must
// then not be quoted as a path.
func (f File) der() bool {
	b, err := base64.StdEncoding.DecodeString(string(f))
	return err == nil && len(b) > 16 && b[0] == 0x30
}

// blocks returns the PEM blocks, at least one.
func (f File) blocks() ([]block, error) {
	text := []byte(f)
	if !f.inline() {
		if f.der() {
			return nil, errors.New("this is neither a path nor PEM: the lines -----BEGIN and -----END are missing")
		}
		var err error
		if text, err = readFile(string(f)); err != nil {
			return nil, err
		}
	}
	found, err := blocks(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", f, err)
	case len(found) == 0 && bytes.HasPrefix(text, []byte{0x30, 0x82}):
		return nil, fmt.Errorf("%s holds no PEM, but DER: convert it, as with openssl x509 -inform der -in FILE -out FILE", f)
	case len(found) == 0:
		return nil, fmt.Errorf("%s holds no PEM: -----BEGIN ... -----END was expected", f)
	}
	return found, nil
}

// pem returns the blocks as text.
func (f File) pem() ([]byte, error) {
	found, err := f.blocks()
	if err != nil {
		return nil, err
	}
	return textOf(found), nil
}

func textOf(found []block) []byte {
	var text []byte
	for _, b := range found {
		text = append(text, b.text...)
	}
	return text
}

func readFile(path string) ([]byte, error) {
	// Stat first, since opening a named pipe would wait for a writer.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%q is larger than %d bytes", path, maxFile)
	}
	return text, err
}

// keyPEM is pem for a private key.
func (f File) keyPEM() ([]byte, error) {
	found, err := f.blocks()
	if err != nil {
		return nil, err
	}
	for _, b := range found {
		if b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "" {
			return nil, fmt.Errorf("%s is encrypted: store it in clear, readable by this program alone (openssl pkey -in FILE -out FILE)", f)
		}
	}
	return textOf(found), nil
}

// certificates returns the certificates in the file, at least one. Comments around blocks are
// skipped. A block that is damaged or not a certificate is an error, because silently trusting
// fewer certificates than expected would be hard to debug.
func (f File) certificates() ([]*x509.Certificate, error) {
	found, err := f.blocks()
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for i, b := range found {
		cert, err := certificate(b)
		if err != nil {
			return nil, fmt.Errorf("%s: block %d: %w", f, i+1, err)
		}
		certs = append(certs, cert)
	}
	return certs, nil
}
