package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStreamChart(t *testing.T) {
	const output = "goos: linux\n" +
		"BenchmarkGateway/sync=default-2 \t 30000\t 20.67 fast-gateway-us\t 31.0 fast-mosquitto-us\n" +
		"BenchmarkGateway/sync=always-2 \t 30000\t 99.0 fast-gateway-us\n" +
		"BenchmarkWorker-2 \t 30000\t 55.67 worker-nats-us\n"
	figures, err := streamFigures(strings.NewReader(output))
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"fast-gateway-us": 20.67, "fast-mosquitto-us": 31, "worker-nats-us": 55.67}, figures)
	_, err = streamFigures(strings.NewReader("PASS\n"))
	require.ErrorContains(t, err, "BenchmarkGateway")
	_, err = streamFigures(strings.NewReader("BenchmarkWorker-2 1 x worker/s\n"))
	require.ErrorContains(t, err, `"x"`)

	from, to := filepath.Join(t.TempDir(), "output"), filepath.Join(t.TempDir(), "chart.svg")
	require.NoError(t, os.WriteFile(from, []byte(output), 0o600))
	require.NoError(t, drawStream(from, to))
	svg, err := os.ReadFile(to)
	require.NoError(t, err)
	for _, value := range []string{">20.7<", ">31<", ">55.7<", "nats-server"} {
		require.Contains(t, string(svg), value)
	}
}
