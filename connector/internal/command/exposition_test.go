package command

import (
	"bytes"
	"testing"
	"time"

	"github.com/mqtt311/mqtt311/connector"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

// familiesOf parses an exposition as Prometheus does.
func familiesOf(t *testing.T, e *Exposition) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(e.text()))
	require.NoError(t, err, "%s", e.text())
	return families
}

// Prometheus reads what we write: odd labels, large numbers and histograms, in any order of samples.
func TestExposition(t *testing.T) {
	up := newMetric(gauge, "up", "Whether it is up.", "name")
	all := newMetric(counter, "all_total", "All.", "name", "result")
	seconds := newMetric(histogram, "some_seconds", "How long.", "name")
	odd := []string{"", `a "b"`, `a\b`, "a\nb", "a\\nb", "温度, {x=\"y\"}", "\t"}
	e := new(Exposition)
	var h connector.Histogram
	for i := range h.Buckets {
		h.Buckets[i] = uint64(i)
	}
	h.Sum = 90 * time.Minute
	for _, name := range odd {
		e.Set(up, 0.25, name)
		e.Count(all, 1<<53-1, name, "ok")
		e.observe(seconds, &h, name)
	}
	families := familiesOf(t, e)
	require.Len(t, families, 3)
	for i, name := range odd {
		m := families["up"].Metric[i]
		require.Equal(t, name, m.Label[0].GetValue())
		require.Equal(t, 0.25, m.Gauge.GetValue())
		m = families["all_total"].Metric[i]
		require.Equal(t, name, m.Label[0].GetValue())
		require.Equal(t, "result", m.Label[1].GetName())
		require.EqualValues(t, 1<<53-1, m.Counter.GetValue())
		got := families["some_seconds"].Metric[i].Histogram
		require.Equal(t, h.Count(), got.GetSampleCount())
		require.EqualValues(t, 5400, got.GetSampleSum())
		require.Len(t, got.Bucket, len(h.Buckets), "and one without bound")
		require.Equal(t, connector.HistogramBounds[2].Seconds(), got.Bucket[2].GetUpperBound())
		require.EqualValues(t, 0+1+2, got.Bucket[2].GetCumulativeCount())
		require.EqualValues(t, h.Count(), got.Bucket[len(h.Buckets)-1].GetCumulativeCount())
	}
	require.Equal(t, "How long.", families["some_seconds"].GetHelp())
	require.Empty(t, new(Exposition).text())
}
