package connector_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector/flow"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// errors.Is matches an error with its type and with all ancestors of that type.
func TestErrorsIsByAncestry(t *testing.T) {
	err := fmt.Errorf("step 3: %w", flow.AsError(&client.RefusedError{Code: packets.NotAuthorized}))
	for _, wide := range []flow.ErrorType{flow.TypeNotAuthorized, flow.TypeRefused, flow.TypeConnectivity, flow.TypeRuntime, flow.TypeAny} {
		require.ErrorIs(t, err, wide)
	}
	require.NotErrorIs(t, err, flow.TypeBadCredentials)
	require.NotErrorIs(t, err, flow.TypePublish)
	require.NotErrorIs(t, errors.New("x"), flow.TypeAny)
}

func TestRetryable(t *testing.T) {
	for _, yes := range []flow.ErrorType{flow.TypeRuntime, flow.TypeTimeout, flow.TypeConnectionLost, flow.TypeUnavailable, flow.TypePublishTimeout, flow.TypeDeadLetter, "SHOP:FULL"} {
		require.True(t, yes.Retryable(), yes)
	}
	for _, no := range []flow.ErrorType{flow.TypeConfig, flow.TypeExpression, flow.TypeTLS, flow.TypeBadCredentials, flow.TypeRejected, flow.TypeInvalidTopic} {
		require.False(t, no.Retryable(), no)
	}
}

// Every type is explained in both languages.
func TestExplain(t *testing.T) {
	src, err := os.ReadFile("flow/errors.go")
	require.NoError(t, err)
	types := regexp.MustCompile(`ErrorType = "([A-Z]+:[A-Z_]+)"`).FindAllStringSubmatch(string(src), -1)
	require.Greater(t, len(types), 20)
	seen := make(map[string]string)
	for _, m := range types {
		e := &flow.Error{Type: flow.ErrorType(m[1])}
		for _, lang := range []string{"en", "zh"} {
			text := e.Explain(lang)
			require.NotEmpty(t, text)
			require.Empty(t, seen[text], "%s has the text of %s", m[1], seen[text])
			seen[text] = m[1]
		}
		require.Regexp(t, `\p{Han}`, e.Explain("zh"))
	}
	e := &flow.Error{Type: flow.TypePublishTimeout, Delivered: flow.DeliveredUnknown}
	require.Contains(t, e.Explain("en"), "may have arrived")
	require.Contains(t, e.Explain("zh"), "可能已送达")
	e.Delivered = flow.DeliveredNo
	require.Contains(t, e.Explain("en"), "did not arrive")
	require.Equal(t, (&flow.Error{Type: flow.TypeRuntime}).Explain("zh"), (&flow.Error{Type: "SHOP:FULL"}).Explain("zh"))
}
