package server

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestPatiently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		over := make(chan struct{})
		n := 0
		// A message every 20 seconds is within the pause; then nothing comes.
		recv := func() (int, error) {
			if n++; n > 3 {
				<-over // as a stream's Recv ends with its call
				return 0, io.ErrUnexpectedEOF
			}
			time.Sleep(20 * time.Second)
			return n, nil
		}
		got := 0
		for message, err := range patiently(recv) {
			if err != nil {
				t.Error(err)
			}
			got = message
		}
		close(over)
		if waited := time.Since(begun); got != 3 || waited != 60*time.Second+uploadPause {
			t.Errorf("%d messages, ended after %v, want 3 and %v", got, waited, 60*time.Second+uploadPause)
		}
	})
}

func TestPatientlyEndsWithAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		var got []error
		for _, err := range patiently(func() (int, error) { return 0, broken }) {
			got = append(got, err)
		}
		if len(got) != 1 || !errors.Is(got[0], broken) {
			t.Errorf("errors %v, want one", got)
		}
	})
}

func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q quiet
		var got []int
		for range 5 {
			got = append(got, q.due("a"))
			time.Sleep(25 * time.Second)
		}
		// At 0, 25, 50, 75 and 100 seconds.
		for i, want := range []int{1, 0, 0, 3, 0} {
			if got[i] != want {
				t.Errorf("due %v, want [1 0 0 3 0]", got)
				break
			}
		}
		if q.due("b") != 1 {
			t.Error("another line is not due")
		}
	})
}
