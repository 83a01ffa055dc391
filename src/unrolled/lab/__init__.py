"""The gradient lab: what backpropagation through time does in a network, measured on a person's own text.

One file a look: `unfold`, `flow`, `spectra`, `gates`, `truncation`; `compare` trains cells side by side, `check` holds
every gradient against three witnesses, `remedies` says in words what a model suffers from. `subject` is what is looked
at, `pictures` how it is drawn, `report` the page. The numbers come from `engines.through_time`.
"""
