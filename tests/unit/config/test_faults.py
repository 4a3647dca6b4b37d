"""Broken configurations, each with exactly what is said about it: place, path, what is wrong, what to write instead."""

# ruff: noqa: E501 - a table is read by line

from __future__ import annotations

from pathlib import Path

import pytest

from balancer.config.load import load

WEB = """listeners:
  - name: web
    address: 127.0.0.1:8080
    rules:
      - action: {forward: demo}
"""
DEMO = """target_groups:
  - name: demo
    targets:
      - {name: a1, address: "127.0.0.1:8001"}
"""

# fmt: off
SECTIONS = [  # what is wrong, what stands there, what is said
    ("an unknown section", "listners: []\n", "1:1: listners: unknown key (write listeners)"),
    ("a section of a later version", "scaling_groups: []\n", "1:1: scaling_groups: 'scaling_groups' is not available in this version (start more containers by hand: DNS discovery finds them)"),
    ("a section as others call it", "upstreams: []\n", "1:1: upstreams: unknown key (write target_groups)"),
    ("a tab before a key", "a:\n  - b: 1\n\tc: 2\n", "3:1: a tab indents this line (use spaces)"),
    ("a quote that is not closed", "a:\n  - {b: \"c, d: e}\n  - {b: \"c\"}\n", "2:9: this quote is not closed (write the other one where the text ends, in the same line)"),
    ("an unknown section near nothing", "frobnicate: 1\n", "1:1: frobnicate: unknown key (known here: admin, workers, stop_timeout, buffer_limit, access_log, listeners, target_groups)"),
    ("a section that is no set of keys", "admin: 127.0.0.1:9900\n", "1:8: admin: '127.0.0.1:9900' is not a set of keys (write {address: 127.0.0.1:9900})"),
    ("a section that is a list", "admin: [127.0.0.1:9900]\n", "1:8: admin: a list is not a set of keys (write keys below it: address, insecure, token, token_file, hosts)"),
    ("a section that is a sentence", "admin: all of them\n", "1:8: admin: 'all of them' is not a set of keys (write keys below it: address, insecure, token, token_file, hosts)"),
    ("an empty section", "admin:\n", "1:7: admin: is empty (remove it, or write keys below it: address, insecure, token, token_file, hosts)"),
    ("a key written twice", "workers: 2\nworkers: 3\n", "2:1: workers: written twice, first in c.yaml:1:1 (keep one of them)"),
    ("workers that are not a number", "workers: two\n", "1:10: workers: 'two' is not a number of workers (write auto, or a number from 1 to 63)"),
    ("no workers", "workers: 0\n", "1:10: workers: '0' is not a number of workers (write auto, or a number from 1 to 63)"),
    ("a duration without a unit", "stop_timeout: 5\n", "1:15: stop_timeout: '5' has no unit (write 5s)"),
    ("a duration in milliseconds without a unit", "stop_timeout: 5000\n", "1:15: stop_timeout: '5000' has no unit (write 5000ms)"),
    ("an unreadable duration", "stop_timeout: 5 seconds\n", "1:15: stop_timeout: '5 seconds' is not a duration (write a number and a unit: 250ms, 5s, 1m)"),
    ("a duration that is a list", "stop_timeout: [5s]\n", "1:15: stop_timeout: a list is not a duration (write a number and a unit: 250ms, 5s, 1m)"),
    ("a duration longer than a year", "stop_timeout: 400d\n", "1:15: stop_timeout: '400d' is longer than a year (write a shorter time)"),
    ("an admin address for everybody", "admin: {address: 0.0.0.0:9900}\n", "1:18: admin.address: 0.0.0.0:9900 can be reached from outside, without a token (write 127.0.0.1:9900, a token, or insecure: true behind a firewall)"),
    ("an admin address that is only a port", "admin: {address: 9900}\n", "1:18: admin.address: '9900' is only a port (write 127.0.0.1:9900)"),
    ("an admin address without address", "admin: {address: \":9900\"}\n", "1:18: admin.address: ':9900' has no address (write 127.0.0.1:9900)"),
    ("a host name to listen on", "admin: {address: localhost:9900}\n", "1:18: admin.address: an address to listen on is a number (write 127.0.0.1:9900)"),
    ("another's host name to listen on", "admin: {address: balancer:9900}\n", "1:18: admin.address: 'balancer' is not an address of this machine (write 127.0.0.1:9900)"),
    ("an admin socket without a full path", "admin: {address: \"unix:admin.sock\"}\n", "1:18: admin.address: 'unix:admin.sock' is not the full path of a socket (write unix:/run/balancer/admin.sock)"),
    ("an admin socket at too long a path", f"admin: {{address: 'unix:/{'a' * 107}'}}\n", "1:18: admin.address: the path of a socket is longer than the system allows (at most 107 bytes)"),
    ("an admin socket with a control character", "admin: {address: \"unix:/tmp/\\0x\"}\n", "1:18: admin.address: 'unix:/tmp/\\x00x' has a control character in it (write the path of a socket)"),
    ("a truth value in another language", "admin: {insecure: yes}\n", "1:19: admin.insecure: 'yes' is not true or false (write true)"),
    ("a token that is empty", "admin: {token: \"\"}\n", "1:16: admin.token: the token is empty: nobody would be asked for it (write one, or remove the key)"),
    ("a token that the environment left empty", "admin: {address: 0.0.0.0:9900, token: \"${NOTHING:-}\", insecure: true}\n", "1:39: admin.token: the token is empty: nobody would be asked for it (write one, or remove the key)"),
    ("a token file with nothing in it", "admin: {address: 0.0.0.0:9900, token_file: /dev/null}\n", "1:44: admin.token_file: the token is empty: nobody would be asked for it (write one, or remove the key)"),
    ("a token that no header can carry", "admin: {token: \"two words\"}\n", "1:16: admin.token: the token has characters that a header cannot carry (use letters, digits and -._~+/=)"),
    ("a token twice", "admin: {token: a, token_file: /dev/null}\n", "1:31: admin.token_file: the token is written twice (keep token or token_file)"),
    ("a token file that is not there", "admin: {token_file: /nowhere/token}\n", "1:21: admin.token_file: /nowhere/token cannot be read: no such file or directory (mount the file, or write token)"),
    ("an access log of false", "access_log: false\n", "1:13: access_log: 'false' is not known here (write off, or its settings)"),
    ("an access log format that nobody knows", "access_log: {format: jsonn}\n", "1:22: access_log.format: 'jsonn' is not known here (write json)"),
    ("a reference to nothing", "stop_timeout: ${STOP}\n", "1:15: stop_timeout: the environment has no STOP (set STOP, or write a default: ${STOP:-value}, or $$ for a dollar)"),
    ("a reference with a message", "stop_timeout: ${STOP:?how long may it take}\n", "1:15: stop_timeout: STOP is not set: how long may it take (set STOP and start again)"),
    ("a reference that is not closed", "stop_timeout: \"${STOP\"\n", "1:15: stop_timeout: '${STOP' is not closed (write ${NAME}, or $${ for the two characters)"),
    ("a reference with a strange name", "stop_timeout: ${1STOP}\n", "1:15: stop_timeout: '${1STOP}' is not a reference (write ${NAME}, ${NAME:-default}, ${NAME:?message} or ${file:/path})"),
    ("a secret that is not there", "admin: {token: \"${file:/nowhere/token}\"}\n", "1:16: admin.token: /nowhere/token cannot be read: no such file or directory (mount the file)"),
    ("a secret without a full path", "admin: {token: \"${file:token}\"}\n", "1:16: admin.token: 'token' is not a full path (write ${file:/run/secrets/name})"),
    ("a tag", "workers: !!int 2\n", "1:10: workers: the tag !!int means nothing here (remove it)"),
    ("a merge key", "admin: {<<: {insecure: true}}\n", "1:9: admin: merge keys are not part of YAML 1.2 (repeat the keys)"),
    ("a key that is a list", "[a, b]: 1\n", "1:1: a key that is not a word (write key: value)"),
    ("listeners as a set of keys", "listeners: {web: {}}\n", "1:12: listeners: a set of keys is not a list (write '- ' before each entry)"),
    ("listeners as a word", "listeners: web\n", "1:12: listeners: 'web' is not a list (write '- ' before each entry)"),
    ("no listeners at all", "listeners: []\n", "1:1: no listeners: nothing would be served (write listeners:)"),
]

LISTENER = [  # what is wrong, what stands there, what is said
    ("an unknown key", "adress: 127.0.0.1:8080", "3:5: listeners.web.adress: unknown key (write address)"),
    ("a protocol of a later version", "protocol: https", "3:15: listeners.web.protocol: 'https' is not available in this version (use http)"),
    ("a protocol that nobody knows", "protocol: htpp", "3:15: listeners.web.protocol: 'htpp' is not known here (write http)"),
    ("a listener that forwards by itself", "forward: demo", "3:5: listeners.web.forward: a listener of HTTP forwards by rules (write rules: [{action: {forward: …}}])"),
    ("TLS", "tls: {}", "3:5: listeners.web.tls: 'tls' is not available in this version (use protocol: http, with something that ends TLS in front)"),
    ("a rate limit that is only a rate", "rate_limit: 10/s", "3:17: listeners.web.rate_limit: '10/s' is not a set of keys (write {rate: 10/s})"),
    ("a rate limit without a rate", "rate_limit: {}", "3:17: listeners.web.rate_limit.rate: is missing (write rate: 100/s)"),
    ("a rate without a unit", "rate_limit: {rate: 100}", "3:24: listeners.web.rate_limit.rate: '100' has no unit (write 100/s)"),
    ("an unreadable rate", "rate_limit: {rate: 100 per second}", "3:24: listeners.web.rate_limit.rate: '100 per second' is not a rate (write a number, a slash and a unit: 100/s, 30/m, 1000/h)"),
    ("a rate of nothing", "rate_limit: {rate: 0/s}", "3:24: listeners.web.rate_limit.rate: '0/s' is out of range (write a rate between 1/h and 1000000/s)"),
    ("a bucket that holds nothing", "rate_limit: {rate: 1/s, burst: 0}", "3:36: listeners.web.rate_limit.burst: 0 is out of range (write a number from 1 to 1000000)"),
    ("a rate of something unknown", "rate_limit: {rate: 1/s, key: client}", "3:34: listeners.web.rate_limit.key: 'client' is not known here (write client_ip, or header:x-api-key)"),
    ("a rate of no header", "rate_limit: {rate: 1/s, key: \"header:\"}", "3:34: listeners.web.rate_limit.key: 'header:' is not known here (write client_ip, or header:x-api-key)"),
    ("a misspelt timeout", "timeouts: {keepalive: 5s}", "3:16: listeners.web.timeouts.keepalive: unknown key (write keep_alive)"),
    ("a bare number as a timeout", "timeouts: {keep_alive: 75}", "3:28: listeners.web.timeouts.keep_alive: '75' has no unit (write 75s)"),
    ("a bare number as a size", "limits: {body: 1000}", "3:20: listeners.web.limits.body: '1000' has no unit (write 1000B, or a size such as 8KiB)"),
    ("an unreadable size", "limits: {body: 1 MO}", "3:20: listeners.web.limits.body: '1 MO' is not a size (write a number and a unit: 500B, 8KiB, 1MiB)"),
    ("no limit for a head", "limits: {head: 0}", "3:20: listeners.web.limits.head: a head is kept in memory whole (write a size from 1KiB to 1MiB, such as 32KiB)"),
    ("a negative limit", "limits: {connections: -1}", "3:27: listeners.web.limits.connections: -1 is out of range (write a number from 0 to 100000000)"),
    ("a number in quotes", "limits: {connections: \"10\"}", "3:27: listeners.web.limits.connections: \"10\" is text (write 10 without quotes)"),
    ("a network with bits outside its mask", "trusted_proxies: [10.0.0.1/8]", "3:23: listeners.web.trusted_proxies[0]: '10.0.0.1/8' has bits outside its mask (write 10.0.0.0/8)"),
    ("a network that is none", "trusted_proxies: [proxy]", "3:23: listeners.web.trusted_proxies[0]: 'proxy' is not a network (write a network such as 10.0.0.0/8, or private)"),
    ("an upgrade that nobody knows", "upgrade: [websockets]", "3:15: listeners.web.upgrade[0]: 'websockets' is not known here (write websocket)"),
    ("an action that is only a name", "rules: [{action: demo}]", "3:22: listeners.web.rules[0].action: 'demo' is not a set of keys (write {forward: demo})"),
    ("a match that is only a path", "rules: [{match: /v1, action: {forward: demo}}]", "3:21: listeners.web.rules[0].match: '/v1' is not a set of keys (write {paths: [/v1]})"),
    ("a redirect that is only a place", "rules: [{action: {redirect: https://x.example}}]", "3:33: listeners.web.rules[0].action.redirect: 'https://x.example' is not a set of keys (write {to: https://x.example})"),
    ("an answer as others call it", "rules: [{action: {respond: {status: 503}}}]", "3:23: listeners.web.rules[0].action.respond: unknown key (write fixed_response)"),
    ("a rule by what no rule sees", "rules: [{match: {headers: {X-Real-IP: 10.0.0.1}}, action: {forward: demo}}]", "3:32: listeners.web.rules[0].match.headers.X-Real-IP: no rule sees this header: it is made anew for each request (use a listener of its own for those clients)"),
    ("a redirect by variables of nginx", "rules: [{action: {redirect: {to: \"https://$host$request_uri\"}}}]", "3:38: listeners.web.rules[0].action.redirect.to: $host is not known here (write {host})"),
    ("a redirect by a variable that nobody knows", "rules: [{action: {redirect: {to: \"https://x/$cookie_a\"}}}]", "3:38: listeners.web.rules[0].action.redirect.to: $cookie_a is not known here (write {scheme}, {host}, {port}, {path} or {query}; %24 is a dollar)"),
    ("a path that no path begins like", "rules: [{match: {paths: [\"~ \\\\.php$\"]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.paths[0]: '~ \\.php$' matches no path: each begins with '/' (write ~.*\\.php$, or ~/\\.php$)"),
    ("a rule by location", "rules: [{location: /v1, action: {forward: demo}}]", "3:14: listeners.web.rules[0].location: unknown key (write match)"),
    ("a URL to forward to", "rules: [{action: {forward: \"http://127.0.0.1:8001\"}}]", "3:23: listeners.web.rules[0].action.forward.http://127.0.0.1:8001: 'http://127.0.0.1:8001' is a URL and not a name (write a name, such as that of a target group)"),
    ("a URL as a host", "rules: [{match: {hosts: [\"http://x.example/a\"]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.hosts[0]: 'http://x.example/a' is a URL (write x.example)"),
    ("a host with a port", "rules: [{match: {hosts: [\"a.example:80\"]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.hosts[0]: 'a.example:80' is more than a host (write a.example)"),
    ("a host that is every host", "rules: [{match: {hosts: [\"*\"]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.hosts[0]: '*' is every host (leave hosts out)"),
    ("a star within a host", "rules: [{match: {hosts: [\"api.*.example\"]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.hosts[0]: 'api.*.example' has a '*' that is not the first label (write *.example.com)"),
    ("a host in another script", "rules: [{match: {hosts: [bücher.example]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.hosts[0]: 'bücher.example' is not in the form that clients send (write xn--bcher-kva.example)"),
    ("a path without a slash", "rules: [{match: {paths: [v1]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.paths[0]: 'v1' does not begin with '/' (write /v1)"),
    ("an nginx location", "rules: [{match: {paths: [\"^~ /v1\"]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.paths[0]: '^~ /v1' does not begin with '/' (write /v1)"),
    ("a path with a star", "rules: [{match: {paths: [/v1/*]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.paths[0]: '/v1/*' has a '*' (write /v1/: a path matches all below it)"),
    ("a path with a query", "rules: [{match: {paths: [\"/v1?a=1\"]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.paths[0]: '/v1?a=1' has a query in it (write /v1, and the query under query:)"),
    ("a method in lower case", "rules: [{match: {methods: [get]}, action: {forward: demo}}]", "3:32: listeners.web.rules[0].match.methods[0]: 'get' is in lower case (write GET)"),
    ("a header value that is a number", "rules: [{match: {headers: {x-beta: 1}}, action: {forward: demo}}]", "3:40: listeners.web.rules[0].match.headers.x-beta: '1' is not text (put it in quotes: \"1\")"),
    ("a header name with a space", "rules: [{match: {headers: {\"x beta\": \"1\"}}, action: {forward: demo}}]", "3:32: listeners.web.rules[0].match.headers.x beta: 'x beta' is not the name of a header (write a name such as x-beta)"),
    ("a header twice", "rules: [{match: {headers: {x-a: \"1\", X-A: \"2\"}}, action: {forward: demo}}]", "3:42: listeners.web.rules[0].match.headers.X-A: this header stands here twice (keep one of them)"),
    ("a repeat inside a repeat", "rules: [{match: {paths: [\"~^/(a+)+$\"]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.paths[0]: '~^/(a+)+$' cannot be used: it repeats a repetition (write one repeat, such as [a-z/]+, or begin each round with a sign: [a-z]+(?:-[a-z]+)*)"),
    ("a back-reference", "rules: [{match: {paths: [\"~^/(a)\\\\1\"]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.paths[0]: '~^/(a)\\1' cannot be used: it refers back to a group (write out what is to be matched twice)"),
    ("look-behind", "rules: [{match: {paths: [\"~(?<=a)b\"]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.paths[0]: '~(?<=a)b' cannot be used: it looks behind (match from the start instead)"),
    ("a pattern that does not compile", "rules: [{match: {paths: [\"~/(\"]}, action: {forward: demo}}]", "3:30: listeners.web.rules[0].match.paths[0]: '~/(' cannot be used: it is not a regular expression: missing ), unterminated subpattern at position 1 (mend the pattern, or write a plain path)"),
    ("an action outside of action", "rules: [{forward: shop}]", "3:14: listeners.web.rules[0].forward: forward stands under action (write action: {forward: shop})"),
    ("an action that is misspelt", "rules: [{action: {forwrd: demo}}]", "3:23: listeners.web.rules[0].action.forwrd: unknown key (write forward)"),
    ("an empty action", "rules: [{action: {}}]", "3:22: listeners.web.rules[0].action: nothing is done (write forward, redirect or fixed_response)"),
    ("two actions", "rules: [{action: {forward: demo, redirect: {to: /x}}}]", "3:38: listeners.web.rules[0].action.redirect: forward or redirect: only one can be done (keep one)"),
    ("no action", "rules: [{match: {paths: [/]}}]", "3:13: listeners.web.rules[0].action: is missing (write action: {forward: demo})"),
    ("a group that is not there", "rules: [{action: {forward: dmo}}]", "3:32: listeners.web.rules[0].action.forward.dmo: there is no target group 'dmo' (write demo)"),
    ("a group by weight that is not there", "rules: [{action: {forward: {demo: 9, canary: 1}}}]", "3:50: listeners.web.rules[0].action.forward.canary: there is no target group 'canary' (write demo)"),
    ("only weights of 0", "rules: [{action: {forward: {demo: 0}}}]", "3:32: listeners.web.rules[0].action.forward: every weight is 0: nobody would get a request (give one of them a weight)"),
    ("a list of groups", "rules: [{action: {forward: [demo]}}]", "3:32: listeners.web.rules[0].action.forward: a list of groups has no weights (write {shop: 9, shop-canary: 1})"),
    ("a redirect that keeps its place", "rules: [{action: {redirect: {to: \"{scheme}://{host}{path}\"}}}]", "3:38: listeners.web.rules[0].action.redirect.to: {scheme}://{host}{path} leads back to the request itself (lead to another host or path)"),
    ("a redirect within its own path", "rules: [{match: {paths: [/old]}, action: {redirect: {to: /old/new}}}]", "3:62: listeners.web.rules[0].action.redirect.to: /old/new leads back to the request itself (lead to another host or path)"),
    ("a redirect with an unknown word", "rules: [{action: {redirect: {to: \"https://{hosts}/\"}}}]", "3:38: listeners.web.rules[0].action.redirect.to: {hosts} is not known here (write {host})"),
    ("a redirect that leads nowhere", "rules: [{action: {redirect: {to: example.com}}}]", "3:38: listeners.web.rules[0].action.redirect.to: 'example.com' leads nowhere (begin with https://, {scheme}:// or /)"),
    ("a status that does not redirect", "rules: [{action: {redirect: {to: /x, status: 200}}}]", "3:50: listeners.web.rules[0].action.redirect.status: '200' does not redirect (write 301, 302, 303, 307 or 308)"),
    ("a redirect without to", "rules: [{action: {redirect: {status: 301}}}]", "3:33: listeners.web.rules[0].action.redirect.to: is missing (write to: https://{host}/new{path})"),
    ("a fixed status out of range", "rules: [{action: {fixed_response: {status: 99}}}]", "3:48: listeners.web.rules[0].action.fixed_response.status: 99 is out of range (write a number from 200 to 599)"),
    ("a type that no header can carry", "rules: [{action: {fixed_response: {content_type: text/ø→}}}]", "3:54: listeners.web.rules[0].action.fixed_response.content_type: 'text/ø→' cannot be sent in a header (write ASCII)"),
    ("a body where there can be none", "rules: [{action: {fixed_response: {status: 204, body: x}}}]", "3:59: listeners.web.rules[0].action.fixed_response.body: an answer with status 204 has no body (remove it, or write 200)"),
    ("two rules for everything", "rules: [{action: {forward: demo}}, {action: {fixed_response: {}}}]", "3:40: listeners.web.rules[1]: rules[0] takes every request already (remove one)"),
    ("two rules for one path", "rules: [{name: api, match: {paths: [/a, /b]}, action: {forward: demo}}, {match: {paths: [/b]}, action: {forward: demo}}]", "3:77: listeners.web.rules[1]: api takes /b already (remove one)"),
    ("two rules of one name", "rules: [{name: api, match: {paths: [/a]}, action: {forward: demo}}, {name: api, action: {forward: demo}}]", "3:80: listeners.web.rules.api.name: the rule 'api' is there already, in c.yaml:3:20 (give one of them another name)"),
]

GROUP = [  # what is wrong, what stands there, what is said
    ("a misspelt policy", "policy: least_con", "3:13: target_groups.demo.policy: 'least_con' is not known here (write least_conn)"),
    ("a policy of a later version", "policy: p2c", "3:13: target_groups.demo.policy: 'p2c' is not available in this version (use least_conn)"),
    ("a policy that nobody knows", "policy: best", "3:13: target_groups.demo.policy: 'best' is not known here (write round_robin or least_conn)"),
    ("a protocol of a later version", "protocol: grpc", "3:15: target_groups.demo.protocol: 'grpc' is not available in this version (use http)"),
    ("sessions", "sticky: {cookie: lb}", "3:5: target_groups.demo.sticky: 'sticky' is not available in this version (use one target, or keep sessions outside the targets)"),
    ("an unknown key in a target", "targets: [{name: a1, address: \"127.0.0.1:1\", weigth: 3}]", "3:50: target_groups.demo.targets.a1.weigth: unknown key (write weight)"),
    ("targets that are only addresses", "targets: [\"127.0.0.1:1\"]", "3:15: target_groups.demo.targets[0]: '127.0.0.1:1' is not a set of keys (write {name: a1, address: 127.0.0.1:1})"),
    ("targets that are only names", "targets: [b]", "3:15: target_groups.demo.targets[0]: 'b' is not a set of keys (write keys below it: name, address, zone, weight, drain, disabled)"),
    ("a target without a name", "targets: [{address: \"127.0.0.1:1\"}]", "3:15: target_groups.demo.targets[0].name: is missing (write name: a1)"),
    ("a target without a port", "targets: [{name: a1, address: backend-a}]", "3:35: target_groups.demo.targets.a1.address: 'backend-a' has no port (write backend-a:8000)"),
    ("a target that is a URL", "targets: [{name: a1, address: \"http://backend-a:8000/\"}]", "3:35: target_groups.demo.targets.a1.address: 'http://backend-a:8000/' is a URL (write backend-a:8000 without http://)"),
    ("a target on every address", "targets: [{name: a1, address: \"0.0.0.0:8000\"}]", "3:35: target_groups.demo.targets.a1.address: '0.0.0.0:8000' is no address of a backend (write 127.0.0.1:8000)"),
    ("a target with a strange host", "targets: [{name: a1, address: \"back end:8000\"}]", "3:35: target_groups.demo.targets.a1.address: 'back end' is not a host (write a host and a port: backend-a:8000)"),
    ("a weight too large", "targets: [{name: a1, address: \"127.0.0.1:1\", weight: 5000}]", "3:58: target_groups.demo.targets.a1.weight: 5000 is out of range (write a number from 0 to 1000)"),
    ("a weight with a fraction", "targets: [{name: a1, address: \"127.0.0.1:1\", weight: 1.5}]", "3:58: target_groups.demo.targets.a1.weight: '1.5' is not a whole number (write a whole number from 0 to 1000)"),
    ("a name with a space", "targets: [{name: a 1, address: \"127.0.0.1:1\"}]", "3:22: target_groups.demo.targets.a 1.name: 'a 1' is not a name (write a-1)"),
    ("two targets of one name", "targets: [{name: a1, address: \"127.0.0.1:1\"}, {name: a1, address: \"127.0.0.1:2\"}]", "3:58: target_groups.demo.targets.a1.name: the target 'a1' is there already, in c.yaml:3:22 (give one of them another name)"),
    ("only weights of 0", "targets: [{name: a1, address: \"127.0.0.1:1\", weight: 0}]", "3:5: target_groups.demo.targets: every weight is 0: nobody would get a request (give one of them a weight)"),
    ("discovery through Docker", "discover: [{docker: {label: x}}]", "3:17: target_groups.demo.discover[0].docker: 'docker' is not available in this version (use dns: the name of the compose service)"),
    ("discovery by a list of names", "discover: [shop]", "3:16: target_groups.demo.discover[0]: 'shop' is not a set of keys (write {dns: shop, port: 8000})"),
    ("discovery by a name", "discover: shop", "3:15: target_groups.demo.discover: 'shop' is not a list (write [{dns: shop, port: 8000}])"),
    ("discovery without a port", "discover: [{dns: backend-a}]", "3:16: target_groups.demo.discover[0].port: is missing (write port: 8000)"),
    ("discovery of an address", "discover: [{dns: 10.0.0.1, port: 80}]", "3:22: target_groups.demo.discover[0].dns: '10.0.0.1' is an address (write it under targets)"),
    ("discovery of a URL", "discover: [{dns: \"http://shop\", port: 8000}]", "3:22: target_groups.demo.discover[0].dns: 'http://shop' is more than a name (write dns: shop and the port beside it)"),
    ("discovery with the port in the name", "discover: [{dns: \"backend-a:8000\", port: 8000}]", "3:22: target_groups.demo.discover[0].dns: 'backend-a:8000' is more than a name (write dns: backend-a and the port beside it)"),
    ("one name looked up twice", "discover: [{dns: a, port: 1}, {dns: a, port: 2}]", "3:41: target_groups.demo.discover[1].dns: 'a' is looked up twice here (keep one of them)"),
    ("a health path without a slash", "health_check: {type: http, path: healthz}", "3:38: target_groups.demo.health_check.path: 'healthz' does not begin with '/' (write /healthz)"),
    ("a check that nobody knows", "health_check: {type: https}", "3:26: target_groups.demo.health_check.type: 'https' is not known here (write http)"),
    ("a check that says how long its body is", "health_check: {type: http, headers: {Content-Length: \"1\"}}", "3:42: target_groups.demo.health_check.headers.Content-Length: a check has no body, so Content-Length would be untrue (remove it)"),
    ("a check with a header that cannot be sent", "health_check: {type: http, headers: {x-a: →}}", "3:47: target_groups.demo.health_check.headers.x-a: '→' cannot be sent in a header (write ASCII)"),
    ("a key of a later version", "max_idle: 8", "3:5: target_groups.demo.max_idle: 'max_idle' is not available in this version (remove it: a worker keeps at most 1024 idle connections to a target)"),
    ("a check of a later version", "health_check: {type: grpc}", "3:26: target_groups.demo.health_check.type: 'grpc' is not available in this version (use tcp)"),
    ("a check that is on", "health_check: on", "3:19: target_groups.demo.health_check: 'on' is not known here (write off, or its settings)"),
    ("a check that is only a path", "health_check: /healthz", "3:19: target_groups.demo.health_check: '/healthz' is not a set of keys (write {type: http, path: /healthz})"),
    ("retries that are only a number", "retry: 2", "3:12: target_groups.demo.retry: '2' is not a set of keys (write {max_retries: 2})"),
    ("a queue that is only a number", "queue: 100", "3:12: target_groups.demo.queue: '100' is not a set of keys (write {size: 100})"),
    ("a check that is only a port", "health_check: 8080", "3:19: target_groups.demo.health_check: '8080' is not a set of keys (write keys below it: type, path, method, host, headers, interval, timeout, unhealthy_threshold, healthy_threshold, fast_interval, unhealthy_interval, expected_statuses, expect_body, port)"),
    ("a check that is empty", "health_check:", "3:18: target_groups.demo.health_check: is empty (write off, or its settings)"),
    ("a threshold of 0", "health_check: {unhealthy_threshold: 0}", "3:41: target_groups.demo.health_check.unhealthy_threshold: 0 is out of range (write a number from 1 to 100)"),
    ("an interval of 0", "health_check: {interval: 0s}", "3:30: target_groups.demo.health_check.interval: '0s' is too short (write 100ms or more)"),
    ("an empty range of statuses", "health_check: {type: http, expected_statuses: 399-200}", "3:51: target_groups.demo.health_check.expected_statuses: '399-200' is an empty range (write 200-399)"),
    ("a status that is none", "health_check: {type: http, expected_statuses: 2xx}", "3:51: target_groups.demo.health_check.expected_statuses: '2xx' is not a status or a range (write 200-399, or [200, 204])"),
    ("a dangerous pattern for the body", "health_check: {type: http, expect_body: \"~(a*)*\"}", "3:45: target_groups.demo.health_check.expect_body: '~(a*)*' cannot be used: it repeats a repetition (write one repeat, such as [a-z/]+, or begin each round with a sign: [a-z]+(?:-[a-z]+)*)"),
    ("a retry word that nobody knows", "retry: {on: [conect]}", "3:18: target_groups.demo.retry.on[0]: 'conect' is not known here (write connect)"),
    ("a retry status that nobody retries", "retry: {on: [500]}", "3:18: target_groups.demo.retry.on[0]: '500' is not known here (write connect, reset, timeout, 502, 503, 504, 429 or non_idempotent)"),
    ("too many retries", "retry: {max_retries: 100}", "3:26: target_groups.demo.retry.max_retries: 100 is out of range (write a number from 0 to 10)"),
    ("passive checks of false", "passive: false", "3:14: target_groups.demo.passive: 'false' is not known here (write off, or its settings)"),
    ("an ejection above its most", "passive: {base_ejection: 10m}", "3:30: target_groups.demo.passive.base_ejection: 10m is more than max_ejection (write 5m or less)"),
    ("local_first without a zone", "zones: {mode: local_first}", "3:12: target_groups.demo.zones.local: is missing (write local: default)"),
    ("local_first with a zone that nobody is in", "zones: {mode: local_first, local: zone-a}", "3:39: target_groups.demo.zones.local: no target is in zone 'zone-a' (write default)"),
    ("active_backup without an order", "zones: {mode: active_backup}", "3:12: target_groups.demo.zones.order: is missing (write order: [default])"),
    ("active_backup with a zone that nobody is in", "zones: {mode: active_backup, order: [default, zone-b]}", "3:51: target_groups.demo.zones.order[1]: no target is in zone 'zone-b' (write default)"),
    ("a zone just as near as another", "targets: [{name: a, address: \"127.0.0.1:1\", zone: zone-a}, {name: b, address: \"127.0.0.1:2\", zone: zone-b}]\n    zones: {mode: active_backup, order: [zone-x]}", "4:42: target_groups.demo.zones.order[0]: no target is in zone 'zone-x' (write zone-a or zone-b)"),
    ("active_backup with a zone twice", "zones: {mode: active_backup, order: [default, default]}", "3:51: target_groups.demo.zones.order[1]: 'default' is named twice (name each zone once)"),
    ("a zone mode that nobody knows", "zones: {mode: local-first}", "3:19: target_groups.demo.zones.mode: 'local-first' is not known here (write local_first)"),
    ("a factor below 100", "zones: {overprovisioning_factor: 50}", "3:38: target_groups.demo.zones.overprovisioning_factor: 50 is out of range (write a number from 100 to 1000)"),
    ("a bare queue timeout", "queue: {timeout: 5}", "3:22: target_groups.demo.queue.timeout: '5' has no unit (write 5s)"),
    ("an empty optional time", "health_check: {fast_interval: }", "3:35: target_groups.demo.health_check.fast_interval: is empty (write a value, or remove the key)"),
]


# fmt: on

Row = tuple[str, ...]


def faults(folder: Path, text: str) -> list[str]:
    """Return what is said about a file, without its name."""
    file = folder / "c.yaml"
    file.write_text(text)
    loaded = load(file, {})
    assert (loaded.snapshot is None) == bool(loaded.faults)
    return [str(fault).replace(f"{file}:", "c.yaml:").removeprefix("c.yaml:") for fault in loaded.faults]


@pytest.mark.parametrize("row", SECTIONS, ids=lambda row: row[0])
def test_a_faulty_section_is_told_exactly(tmp_path: Path, row: Row) -> None:
    _, text, *said = row
    web = "" if "listeners" in text else WEB
    assert faults(tmp_path, f"{text}{web}{DEMO}") == said


@pytest.mark.parametrize("row", LISTENER, ids=lambda row: row[0])
def test_a_faulty_listener_is_told_exactly(tmp_path: Path, row: Row) -> None:
    _, line, *said = row
    address = "" if line.startswith("adress") else "    address: 127.0.0.1:8080\n"
    rules = "" if line.startswith("rules") else "    rules: [{action: {forward: demo}}]\n"
    assert faults(tmp_path, f"listeners:\n  - name: web\n    {line}\n{address}{rules}{DEMO}") == said


@pytest.mark.parametrize("row", GROUP, ids=lambda row: row[0])
def test_a_faulty_group_is_told_exactly(tmp_path: Path, row: Row) -> None:
    _, line, *said = row
    targets = "" if line.startswith("targets") else '    targets: [{name: a1, address: "127.0.0.1:8001"}]\n'
    assert faults(tmp_path, f"target_groups:\n  - name: demo\n    {line}\n{targets}{WEB}") == said


def test_a_compose_file_is_told_to_be_one(tmp_path: Path) -> None:
    """Every line of it would be a fault of its own."""
    text = "x-all: &all {restart: always}\nservices:\n  web:\n    <<: *all\n    image: x\nnetworks: {}\n"
    remedy = "name what it mounts instead, such as config"
    assert faults(tmp_path, text) == [f"2:1: services: this is a compose file ({remedy})"]


def test_every_fault_of_a_file_is_told_at_once_in_the_order_of_its_lines(tmp_path: Path) -> None:
    text = """listeners:
  - name: web
    address: 127.0.0.1:8080
    timeouts: {first_byt: 5s, keep_alive: 5}
    rules:
      - match: {paths: [v1]}
        action: {forwrd: demo}
      - action: {forward: dmo}
  - name: web
    address: 0.0.0.0:8080
    rules: [{action: {forward: demo}}]
target_groups:
  - name: demo
    policy: least_con
    targets:
      - {name: a1, address: "127.0.0.1", weigth: 1}
      - {address: "127.0.0.1:8001"}
"""
    assert faults(tmp_path, text) == [
        "4:16: listeners.web.timeouts.first_byt: unknown key (write first_byte)",
        "4:43: listeners.web.timeouts.keep_alive: '5' has no unit (write 5s)",
        "6:25: listeners.web.rules[0].match.paths[0]: 'v1' does not begin with '/' (write /v1)",
        "7:18: listeners.web.rules[0].action.forwrd: unknown key (write forward)",
        "8:27: listeners.web.rules[1].action.forward.dmo: there is no target group 'dmo' (write demo)",
        "9:11: listeners.web.name: the listener 'web' is there already, in c.yaml:2:11 (give one of them another name)",
        "10:14: listeners.web.address: 0.0.0.0:8080 collides with the listener web on 127.0.0.1:8080 (choose another port)",
        "14:13: target_groups.demo.policy: 'least_con' is not known here (write least_conn)",
        "16:29: target_groups.demo.targets.a1.address: '127.0.0.1' has no port (write 127.0.0.1:8000)",
        "16:42: target_groups.demo.targets.a1.weigth: unknown key (write weight)",
        "17:9: target_groups.demo.targets[1].name: is missing (write name: a1)",
    ]


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "0.0.0.0:80", True),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "0.0.0.0:80", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_two_listeners_cannot_have_one_address(tmp_path: Path, one: str, other: str, collide: bool) -> None:
    rules = "rules: [{action: {forward: demo}}]"
    listeners = "".join(
        f'  - {{name: l{i}, address: "{address}", {rules}}}\n' for i, address in enumerate((one, other))
    )
    assert bool(faults(tmp_path, f"listeners:\n{listeners}{DEMO}")) == collide


def test_a_listener_cannot_have_the_address_of_the_admin_server(tmp_path: Path) -> None:
    assert faults(tmp_path, "admin: {address: 127.0.0.1:8080}\n" + WEB + DEMO) == [
        "4:14: listeners.web.address: the admin server listens on 127.0.0.1:8080 already (choose another port)"
    ]


def test_more_than_a_machine_can_hold_is_refused(tmp_path: Path) -> None:
    listener = "  - {{name: l{0}, address: 127.0.0.1:{1}, rules: [{{action: {{forward: demo}}}}]}}\n"
    listeners = "".join(listener.format(i, 10000 + i) for i in range(201))
    assert faults(tmp_path, f"listeners:\n{listeners}{DEMO}") == [
        "1:1: listeners: 201 listeners are too many (at most 200; run a second balancer)"
    ]
    targets = "".join(f'      - {{name: t{i}, address: "10.0.0.1:{1000 + i}"}}\n' for i in range(16385))
    assert faults(tmp_path, f"{WEB}target_groups:\n  - name: demo\n    targets:\n{targets}") == [
        "6:1: target_groups: 16385 targets are too many (at most 16384; run a second balancer)"
    ]
    groups = "".join(f"  - {{name: g{i}, discover: [{{dns: a, port: 1}}]}}\n" for i in range(512))
    assert faults(tmp_path, f"{WEB}{DEMO}{groups}") == [
        "6:1: target_groups: 513 target groups are too many (at most 512; run a second balancer)"
    ]


def test_a_hundred_regular_expressions_are_enough_for_a_listener(tmp_path: Path) -> None:
    paths = ", ".join(f'"~^/r{i}"' for i in range(101))
    web = f"listeners:\n  - name: web\n    address: 127.0.0.1:80\n    rules:\n      - match: {{paths: [{paths}]}}\n"
    assert faults(tmp_path, f"{web}        action: {{forward: demo}}\n{DEMO}") == [
        "4:5: listeners.web.rules: 101 regular expressions are too many (at most 100 a listener; use prefixes)"
    ]


def test_what_is_broken_elsewhere_is_not_judged_by_what_it_lacks(tmp_path: Path) -> None:
    text = "listners: []\n" + DEMO.replace("name: demo", "name: demo\n    polcy: x")
    assert faults(tmp_path, text) == [
        "1:1: listners: unknown key (write listeners)",
        "4:5: target_groups.demo.polcy: unknown key (write policy)",
    ]
