package browser_test

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// mostOfShot is the maximum size of a screenshot in bytes.
const mostOfShot = 150 << 10

// shot saves a screenshot of the page in the folder that MQTT311_SCREENSHOTS names.
func (b *tab) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("MQTT311_SCREENSHOTS")
	if dir == "" {
		return
	}
	value[bool](b, `(scrollTo(0, 0), true)`)
	taken, err := run(b, chromedp.CaptureScreenshot())
	b.require(err, "a picture")
	picture, err := png.Decode(bytes.NewReader(taken))
	require.NoError(b.t, err)
	var out bytes.Buffer
	require.NoError(b.t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, fewColours(trimmed(picture))))
	require.Less(b.t, out.Len(), mostOfShot, name)
	require.NoError(b.t, os.WriteFile(filepath.Join(dir, name+".png"), out.Bytes(), 0o644))
}

// trimmed removes empty rows at the bottom of a picture, except for a margin.
func trimmed(p image.Image) image.Image {
	r := p.Bounds()
	foot := p.At(r.Min.X, r.Max.Y-1)
	empty := func(y int) bool {
		for x := r.Min.X; x < r.Max.X; x++ {
			if p.At(x, y) != foot {
				return false
			}
		}
		return true
	}
	last := r.Max.Y - 1
	for last > r.Min.Y && empty(last) {
		last--
	}
	r.Max.Y = min(r.Max.Y, last+20)
	out := image.NewRGBA(r)
	draw.Draw(out, r, p, r.Min, draw.Src)
	return out
}

// fewColours keeps the 256 most frequent colours of a picture, and replaces all others by the
// nearest of them.
func fewColours(p image.Image) image.Image {
	r := p.Bounds()
	count := make(map[color.Color]int)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			count[p.At(x, y)]++
		}
	}
	all := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return cmp.Compare(count[b], count[a]) })
	out := image.NewPaletted(r, all[:min(len(all), 256)])
	draw.Draw(out, r, p, r.Min, draw.Src)
	return out
}
