"""The review page in a browser: for one person on this machine (`local`), or for a team (`app` behind `modctl serve`).

Server-rendered pages, one style sheet and a few small scripts, all shipped with the package. Loading it needs the `web`
extra; it loads no torch.
"""
