package command

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// payloadChunk is how much of a payload is converted to JSON at a time.
const payloadChunk = 32 << 10

// withPayload returns a JSON object, which must have members, with one more at its end: payload if that is text,
// payload_base64 otherwise. html says whether <, > and & are escaped. The size of a large payload is computed
// first: a byte may take six in JSON, and a growing buffer would take a multiple of that.
func withPayload(object, payload []byte, html bool) []byte {
	size := len(object) + len(payload) + 64
	if len(payload) > payloadChunk {
		size = 1 // for the end of a line
		eachPiece(object, payload, html, func(b []byte) { size += len(b) })
	}
	out := make([]byte, 0, size)
	eachPiece(object, payload, html, func(b []byte) { out = append(out, b...) })
	return out
}

// eachPiece calls do with the result of withPayload, piece by piece. A piece is valid until do
// returns.
func eachPiece(object, payload []byte, html bool, do func([]byte)) {
	do(bytes.TrimSuffix(bytes.TrimSuffix(object, []byte("\n")), []byte("}")))
	if utf8.Valid(payload) {
		do([]byte(`,"payload":"`))
		eachPieceOfText(payload, html, do)
	} else {
		do([]byte(`,"payload_base64":"`))
		var b []byte
		for piece := range slices.Chunk(payload, payloadChunk/3*3) { // whole groups of three bytes
			b = base64.StdEncoding.AppendEncode(b[:0], piece)
			do(b)
		}
	}
	do([]byte(`"}`))
}

func eachPieceOfText(text []byte, html bool, do func([]byte)) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	for len(text) > 0 {
		n := min(len(text), payloadChunk)
		for n < len(text) && !utf8.RuneStart(text[n]) {
			n--
		}
		b.Reset()
		if err := e.Encode(string(text[:n])); err != nil {
			panic("mqtt311: " + err.Error()) // text always encodes
		}
		do(b.Bytes()[1 : b.Len()-2]) // without the quotes and the end of the line
		text = text[n:]
	}
}
