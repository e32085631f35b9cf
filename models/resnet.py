"""Small networks of which float and quantized ones are trained here: ResNet-20 and a MobileNetV2.

Both take 28x28 or 32x32 images of any number of channels and any activation module: ``act()`` makes
one for each place. What they are made of is what host/importer.py imports.
"""

from torch import nn


def _convolution(cin, cout, kernel, stride=1, groups=1):
    """Without bias, with batch normalization."""
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups,
                                   bias=False), nn.BatchNorm2d(cout))


class BasicBlock(nn.Module):
    """He et al., "Deep Residual Learning", 2016: two 3x3 convolutions; where the shape changes, the
    shortcut is a 1x1 convolution with stride (option B)."""

    def __init__(self, cin, cout, stride, act):
        super().__init__()
        self.first, self.middle = _convolution(cin, cout, 3, stride), act()
        self.second, self.last = _convolution(cout, cout, 3), act()
        self.shortcut = nn.Identity() if stride == 1 and cin == cout else \
            _convolution(cin, cout, 1, stride)

    def forward(self, x):
        return self.last(self.second(self.middle(self.first(x))) + self.shortcut(x))


class ResNet(nn.Module):
    """(N, channels, H, W) -> (N, classes): three stages of ``blocks`` blocks, of ``width``, twice
    and four times as many channels, the planes of the second and third halved. ``stride`` of the
    first convolution: 1 is the paper's."""

    def __init__(self, blocks, classes, channels, width, act, stride):
        super().__init__()
        self.stem, self.act = _convolution(channels, width, 3, stride), act()
        stages, cin = [], width
        for cout, first in ((width, 1), (2 * width, 2), (4 * width, 2)):
            for block in range(blocks):
                stages.append(BasicBlock(cin, cout, 1 if block else first, act))
                cin = cout
        self.blocks = nn.Sequential(*stages)
        self.classifier = nn.Linear(cin, classes)
        _initialize(self)

    def forward(self, x):
        return self.classifier(self.blocks(self.act(self.stem(x))).mean((2, 3)))


class InvertedResidual(nn.Module):
    """Sandler et al., "MobileNetV2", 2018, section 3.3: expand, depthwise, project."""

    def __init__(self, cin, cout, stride, expand, act):
        super().__init__()
        wide = cin * expand
        self.residual = stride == 1 and cin == cout
        self.body = nn.Sequential(_convolution(cin, wide, 1), act(),
                                  _convolution(wide, wide, 3, stride, groups=wide), act(),
                                  _convolution(wide, cout, 1))

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


class SmallMobileNet(nn.Module):
    """(N, channels, H, W) -> (N, classes). The first convolution has stride 2."""

    # Of each block: what its input has times how many channels, stride, how far it expands.
    STAGES = ((1, 1, 3), (1.5, 2, 4), (1, 1, 3), (2, 2, 4), (1, 1, 3))

    def __init__(self, classes, channels, width, act):
        super().__init__()
        layers, cin = [_convolution(channels, width, 3, 2), act()], width
        for factor, stride, expand in self.STAGES:
            cout = int(cin * factor)
            layers.append(InvertedResidual(cin, cout, stride, expand, act))
            cin = cout
        self.features = nn.Sequential(*layers, _convolution(cin, 4 * cin, 1), act())
        self.classifier = nn.Linear(4 * cin, classes)
        _initialize(self)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def resnet20(classes=10, channels=1, width=16, act=nn.ReLU, stride=1):
    """ResNet-20. He et al.'s has a width of 16 and a first stride of 1; ``act()`` makes each of its
    19 activations."""
    return ResNet(3, classes, channels, width, act, stride)


def mobilenet_small(classes=10, channels=1, width=16, act=nn.ReLU6):
    """A MobileNetV2 of five inverted residuals; ``act()`` makes each of its 12 activations."""
    return SmallMobileNet(classes, channels, width, act)


def _initialize(model):
    """He's initialization of convolutions (2015, equation 10, by outputs)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
