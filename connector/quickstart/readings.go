package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
)

//go:embed readings.jsonl
var readingsFile []byte

// A reading is a line of readings.jsonl.
type reading struct {
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
	Base64  []byte `json:"payload_base64"`
}

func (r *reading) content() []byte {
	if r.Base64 != nil {
		return r.Base64
	}
	return []byte(r.Payload)
}

func loadReadings() ([]reading, error) {
	var rs []reading
	lines := bufio.NewScanner(bytes.NewReader(readingsFile))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r reading
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("readings.jsonl: line %d: %w", len(rs)+1, err)
		}
		rs = append(rs, r)
	}
	return rs, lines.Err()
}
