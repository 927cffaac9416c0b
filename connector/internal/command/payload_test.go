package command

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Payloads in JSON are the same as those of encoding/json, also when they are converted in pieces.
func TestPayloadsInJSON(t *testing.T) {
	for name, payload := range map[string]string{
		"empty":                       "",
		"text":                        `"a" \ <b> & é`,
		"no text":                     "\xff\xfe",
		"the size of a piece":         strings.Repeat("x", payloadChunk),
		"a letter between two pieces": strings.Repeat("x", payloadChunk-1) + "中文\u2028" + strings.Repeat("\x00<", payloadChunk),
		"many bytes that are no text": strings.Repeat("\xff", 3*payloadChunk+1),
	} {
		for _, html := range []bool{false, true} {
			want := struct {
				A       int
				Payload *string `json:"payload,omitempty"`
				Base64  []byte  `json:"payload_base64,omitempty"`
			}{A: 1, Payload: &payload}
			if strings.HasPrefix(payload, "\xff") {
				want.Payload, want.Base64 = nil, []byte(payload)
			}
			var b strings.Builder
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(html)
			require.NoError(t, e.Encode(want))
			require.True(t, b.String() == string(withPayload([]byte("{\"A\":1}\n"), []byte(payload), html))+"\n", "%s, %v", name, html)
		}
	}
}

// A large payload takes the memory of its JSON once, not that of a growing buffer.
func TestLargePayloadInJSON(t *testing.T) {
	payload := make([]byte, 8<<20) // a zero takes six bytes
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out := withPayload([]byte(`{"A":1}`), payload, false)
	runtime.ReadMemStats(&after)
	require.Greater(t, len(out), 6*len(payload))
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(10*len(payload)))
}
