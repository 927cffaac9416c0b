package main

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each value is at its bar, bars begin at zero, and groups with very different values have separate scales.
func TestPicture(t *testing.T) {
	groups := []group{{"<few>", []bar{{ours, 1, "ours"}, {paho, 2, "peer1"}}}, {"more", []bar{{ours, 3.14159, "ours"}, {paho, 20, "peer1"}}}}
	lengths := func(svg string) (widths []string) {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			token, err := d.Token()
			if err == io.EOF {
				return widths
			}
			require.NoError(t, err)
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" && e.Attr[0].Value != "paper" {
				widths = append(widths, e.Attr[3].Value)
			}
		}
	}
	svg := picture("title", groups, inEnglish)
	require.Equal(t, []string{"32.0", "64.0", "100.5", "640.0"}, lengths(svg))
	for _, text := range []string{">title<", ">&lt;few&gt;<", ">3.14<", ">20<", ">less is better<", "prefers-color-scheme: dark"} {
		require.Contains(t, svg, text)
	}

	groups[1].bars[1].value = 20_000
	svg = picture("title", groups, inEnglish)
	require.Equal(t, []string{"320.0", "640.0", "1.0", "640.0"}, lengths(svg))
	require.Contains(t, svg, ">20,000<")
	require.Contains(t, svg, "each group has a scale of its own")
}
