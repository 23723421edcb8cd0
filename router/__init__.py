"""The router: takes inference calls, sends each to the cheapest backend that keeps its promises."""

VERSION = "0.1.0"
