"""The labelers' pages: HTML forms that work without JavaScript, and better with it.

router     all of them
parts      what they need of the process they are in
templates  pages from web/, their style sheet and scripts
trouble    errors as pages, which keep what was sent
visitors   who sits at the browser
entry      log in, join by invitation, log out
own        one's own start page, how the test went, the guidelines
work       one piece of work after another: judge, skip, undo
items      an assignment as the work page shows it
forms      a form as a judgement, and a judgement as a form

may import: feedback
"""
