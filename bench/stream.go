package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Processor time in the benchmarks of connector/jetstream: which process uses it, and in which
// benchmark.
var (
	streamWho   = []string{"mosquitto", "ours", "nats"}
	streamNames = map[string]string{"mosquitto": "mosquitto", "ours": "gateway or worker", "nats": "nats-server"}
	streamParts = []struct{ name, label, ours string }{
		{"mosquitto", "mosquitto alone", "gateway"},
		{"stream", "the stream alone", "gateway"},
		{"fast", "gateway, fast", "gateway"},
		{"strict", "gateway, strict", "gateway"},
		{"worker", "worker", "worker"},
	}
	streamKinds = map[string]string{"mosquitto": "peer1", "ours": "ours", "nats": "peer2"}
)

// streamFigures reads the output of "go test -bench" for the benchmarks of connector/jetstream with the server's
// default sync, as values by unit.
func streamFigures(r io.Reader) (map[string]float64, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	figures := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "BenchmarkGateway/sync=default") && !strings.HasPrefix(line, "BenchmarkWorker") {
			continue
		}
		fields := strings.Fields(line)
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q is no value of a benchmark", fields[i])
			}
			figures[fields[i+1]] = value
		}
	}
	if len(figures) == 0 {
		return nil, errors.New("there is no line of BenchmarkGateway/sync=default or BenchmarkWorker")
	}
	return figures, nil
}

// drawStream draws the processor time per message in each part, as bars with their values.
func drawStream(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	figures, err := streamFigures(f)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	var groups []group
	for _, part := range streamParts {
		g := group{name: part.label}
		for _, who := range streamWho {
			unit := part.name + "-" + who + "-us"
			if who == "ours" {
				unit = part.name + "-" + part.ours + "-us"
			}
			if x := figures[unit]; x >= 0.5 {
				g.bars = append(g.bars, bar{streamNames[who], x, streamKinds[who]})
			}
		}
		if len(g.bars) > 0 {
			groups = append(groups, g)
		}
	}
	return os.WriteFile(to, []byte(picture("µs of processor time a message", groups, inEnglish)), 0o644)
}
