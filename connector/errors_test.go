package connector_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
	"github.com/stretchr/testify/require"
)

// errors.Is asks by ancestry.
func TestErrorsIsByAncestry(t *testing.T) {
	err := fmt.Errorf("step 3: %w", connector.AsError(&client.RefusedError{Code: packets.NotAuthorized}))
	for _, wide := range []connector.ErrorType{connector.TypeNotAuthorized, connector.TypeRefused, connector.TypeConnectivity, connector.TypeRuntime, connector.TypeAny} {
		require.ErrorIs(t, err, wide)
	}
	require.NotErrorIs(t, err, connector.TypeBadCredentials)
	require.NotErrorIs(t, err, connector.TypePublish)
	require.NotErrorIs(t, errors.New("x"), connector.TypeAny)
}

func TestRetryable(t *testing.T) {
	for _, yes := range []connector.ErrorType{connector.TypeRuntime, connector.TypeTimeout, connector.TypeConnectionLost, connector.TypeUnavailable, connector.TypePublishTimeout, connector.TypeDeadLetter, "SHOP:FULL"} {
		require.True(t, yes.Retryable(), yes)
	}
	for _, no := range []connector.ErrorType{connector.TypeConfig, connector.TypeExpression, connector.TypeTLS, connector.TypeBadCredentials, connector.TypeRejected, connector.TypeInvalidTopic} {
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
		e := &connector.Error{Type: connector.ErrorType(m[1])}
		for _, lang := range []string{"en", "zh"} {
			text := e.Explain(lang)
			require.NotEmpty(t, text)
			require.Empty(t, seen[text], "%s has the text of %s", m[1], seen[text])
			seen[text] = m[1]
		}
		require.Regexp(t, `\p{Han}`, e.Explain("zh"))
	}
	e := &connector.Error{Type: connector.TypePublishTimeout, Delivered: connector.DeliveredUnknown}
	require.Contains(t, e.Explain("en"), "may have arrived")
	require.Contains(t, e.Explain("zh"), "可能已送达")
	e.Delivered = connector.DeliveredNo
	require.Contains(t, e.Explain("en"), "did not arrive")
	require.Equal(t, (&connector.Error{Type: connector.TypeRuntime}).Explain("zh"), (&connector.Error{Type: "SHOP:FULL"}).Explain("zh"))
}
