package signin

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Address is the one of the network that a request came from.
func Address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// Within is a path of the pages, and never an address elsewhere.
func Within(to string) string {
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") || strings.HasPrefix(to, "/sign-") {
		return "/"
	}
	return to
}

// KeepToken has the browser keep what it holds of a session, under the name of a
// cookie that begins with __Host-: no script reads it, and no other site's request
// brings it but by a link.
func KeepToken(w http.ResponseWriter, name, token string) { http.SetCookie(w, cookie(name, token)) }

func cookie(name, value string) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// Token is what the browser holds of a session; empty where it holds none.
func Token(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// DropToken has the browser forget it.
func DropToken(w http.ResponseWriter, name string) {
	c := cookie(name, "")
	c.MaxAge = -1
	http.SetCookie(w, c)
}

// SignOutPath is where somebody signs out; behind it lies what is left to do then.
const SignOutPath = "/sign-out"

// KeepTheirs has the browser keep the provider's token until somebody signs out:
// only then it is sent. One that is too long for a cookie is not kept; the provider
// then asks who it is.
func KeepTheirs(w http.ResponseWriter, name, token string) {
	const longest = 3800 // browsers keep 4096 bytes, with name and attributes
	if len(token) <= longest {
		c := cookie(name, token)
		c.Path = SignOutPath
		http.SetCookie(w, c)
	}
}

// TakeTheirs gives that back, once.
func TakeTheirs(w http.ResponseWriter, r *http.Request, name string) (token string) {
	c := cookie(name, "")
	c.Path, c.MaxAge = SignOutPath, -1
	http.SetCookie(w, c)
	return Token(r, name)
}

// flowTime is how long a sign-in by a provider may take.
const flowTime = 10 * time.Minute

// KeepFlow has the browser keep what a sign-in by a provider comes back with, and
// where to go then.
func KeepFlow(w http.ResponseWriter, name, flow, to string) {
	c := cookie(name, flow+"."+url.QueryEscape(Within(to)))
	c.MaxAge = int(flowTime / time.Second)
	http.SetCookie(w, c)
}

// TakeFlow gives that back, once.
func TakeFlow(w http.ResponseWriter, r *http.Request, name string) (flow, to string) {
	DropToken(w, name)
	held := Token(r, name)
	i := strings.LastIndexByte(held, '.')
	to, _ = url.QueryUnescape(held[i+1:])
	return held[:max(0, i)], Within(to)
}
