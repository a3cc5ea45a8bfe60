package webhook

import (
	"errors"
	"testing"
	"time"
)

func TestPauses(t *testing.T) {
	for _, tt := range []struct {
		failures int
		err      error
		want     time.Duration
	}{
		{1, errors.New("x"), time.Second},
		{4, errors.New("x"), 8 * time.Second},
		{1000, errors.New("x"), longPause},
		{1, &Refused{Status: 503, After: time.Minute}, time.Minute},
		{1, &Refused{Status: 503, After: 24 * time.Hour}, maxPause},
	} {
		if got := pauseAfter(tt.failures, tt.err); got != tt.want {
			t.Errorf("after %d failures, %v: %v, want %v", tt.failures, tt.err, got, tt.want)
		}
	}
}
