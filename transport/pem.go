package transport

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"unicode/utf16"
)

var (
	pemBegin = []byte("-----BEGIN ")
	pemEnd   = []byte("-----END ")
	pemRest  = []byte("-----")
)

// A block is a PEM block with its text.
type block struct {
	*pem.Block
	text []byte
}

// blocks returns the PEM blocks of a text. It accepts what editors and scripts produce and
// encoding/pem would silently skip: a byte order mark, UTF-16, END and BEGIN on the same line,
// missing newlines, and indented lines. A damaged block is an error.
func blocks(text []byte) ([]block, error) {
	text = apart(withoutMark(text))
	var found []block
	at := bytes.Index(text, pemBegin)
	for at >= 0 {
		piece := text[at:]
		next := bytes.Index(piece[1:], pemBegin)
		if next >= 0 {
			piece = piece[:next+1]
		}
		b, _ := pem.Decode(piece)
		if b == nil {
			return nil, fmt.Errorf("block %d is damaged: its END line is missing, does not fit its BEGIN line, or what stands between is not base64", len(found)+1)
		}
		found = append(found, block{b, piece})
		if next < 0 {
			break
		}
		at += next + 1
	}
	return found, nil
}

// apart puts BEGIN and END on lines of their own, without indentation. encoding/pem ignores spaces
// in between.
func apart(text []byte) []byte {
	var out []byte
	for len(text) > 0 {
		n := pemLine(text)
		if n == 0 {
			out, text = append(out, text[0]), text[1:]
			continue
		}
		out = append(append(append(out, '\n'), text[:n]...), '\n')
		text = text[n:]
	}
	return out
}

// pemLine returns the length of the BEGIN or END line at the start of text, or 0 if there is none.
func pemLine(text []byte) int {
	label, ok := bytes.CutPrefix(text, pemBegin)
	if !ok {
		if label, ok = bytes.CutPrefix(text, pemEnd); !ok {
			return 0
		}
	}
	n := bytes.IndexFunc(label, func(r rune) bool { return r != ' ' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') })
	if n <= 0 || !bytes.HasPrefix(label[n:], pemRest) {
		return 0
	}
	return len(text) - len(label) + n + len(pemRest)
}

// withoutMark returns a text that starts with a byte order mark as UTF-8, without the mark.
func withoutMark(text []byte) []byte {
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case bytes.HasPrefix(text, []byte{0xef, 0xbb, 0xbf}):
		return text[3:]
	case bytes.HasPrefix(text, []byte{0xfe, 0xff}):
		order = binary.BigEndian
	case !bytes.HasPrefix(text, []byte{0xff, 0xfe}):
		return text
	}
	units := make([]uint16, 0, len(text)/2)
	for i := 2; i+1 < len(text); i += 2 {
		units = append(units, order.Uint16(text[i:]))
	}
	return []byte(string(utf16.Decode(units)))
}

// certificate parses a block with a trusted certificate.
func certificate(b block) (*x509.Certificate, error) {
	switch b.Type {
	case "CERTIFICATE", "X509 CERTIFICATE":
		return x509.ParseCertificate(b.Bytes)
	case "TRUSTED CERTIFICATE":
		return trustedCertificate(b.Bytes)
	}
	return nil, fmt.Errorf("it is %q, not a certificate", b.Type)
}

// A trust is the structure X509_CERT_AUX, which OpenSSL appends to a certificate.
type trust struct {
	For     []asn1.ObjectIdentifier `asn1:"optional"`
	Against []asn1.ObjectIdentifier `asn1:"optional,tag:0"`
}

var (
	serverAuth = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}
	anyUsage   = asn1.ObjectIdentifier{2, 5, 29, 37, 0}
)

func trustedCertificate(der []byte) (*x509.Certificate, error) {
	var first asn1.RawValue
	rest, err := asn1.Unmarshal(der, &first)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(first.FullBytes)
	if err != nil || len(rest) == 0 {
		return cert, err
	}
	var t trust
	if _, err := asn1.Unmarshal(rest, &t); err != nil {
		return nil, fmt.Errorf("what is trusted: %w", err)
	}
	if len(t.For) > 0 && !slices.ContainsFunc(t.For, isServer) || slices.ContainsFunc(t.Against, isServer) {
		return nil, errors.New("it says that it is not trusted for servers")
	}
	return cert, nil
}

func isServer(id asn1.ObjectIdentifier) bool { return id.Equal(serverAuth) || id.Equal(anyUsage) }
